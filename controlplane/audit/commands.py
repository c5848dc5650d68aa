"""What the commands of the log have in common."""

import getpass

from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.limits import MAX_ACTOR_NAME


def command_actor(command: str) -> Actor:
    """A management command, with the system account that runs it."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = "unknown"
    return Actor(ActorKind.COMMAND, account[:MAX_ACTOR_NAME], f"command:{command}")
