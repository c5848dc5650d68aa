"""Who did something, as it stays on the record."""

from dataclasses import dataclass

from django.db.models import TextChoices


class ActorKind(TextChoices):
    """What kind of caller an actor is."""

    USER = "user"
    TOKEN = "token"  # noqa: S105 - a kind of caller, not a secret
    COMMAND = "command"
    AGENT = "agent"
    CONTROLLER = "controller"


@dataclass(frozen=True)
class Actor:
    """A snapshot of a caller, readable after the caller is deleted.

    `name` is for people, `ref` ("user:3", "token:9") finds the row if it still
    exists, `source_address` is the IP address the call came from or "". What the
    caller says and nobody checked: `user_agent`, and `on_behalf_of`, for whom a
    program acts.
    """

    kind: ActorKind
    name: str
    ref: str
    source_address: str = ""
    user_agent: str = ""
    on_behalf_of: str = ""
