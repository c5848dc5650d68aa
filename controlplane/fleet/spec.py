"""What is to be known about an agent, and whether that can be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError

from controlplane.fleet.models import Dialect
from controlplane.fleet.validation import normalise_url, validate_labels, validate_name
from engine.contract import Role

MAX_WORKER_ID = 65_535


@dataclass(frozen=True)
class AgentSpec:
    """What is to be known about an agent.

    `worker_id` is None for a scheduler. `token` is in the clear; "" removes the
    stored one. What is None stays as it is, or as it is by default for a new
    agent. `engine` is the engine's name.
    """

    name: str
    url: str
    role: Role
    worker_id: int | None
    engine: str
    dialect: Dialect | None = None
    token: str | None = field(default=None, repr=False)
    labels: Mapping[str, str] | None = None
    instance_id: str | None = None
    boot_id: str | None = None


def validate_spec(spec: AgentSpec) -> AgentSpec:
    """The spec with its URL in normal form. Raises django's ValidationError with
    a dictionary of fields."""
    errors: dict[str, list[str]] = {}
    url = spec.url
    try:
        url = normalise_url(spec.url)
    except ValidationError as error:
        errors["url"] = error.messages
    checks: tuple[tuple[str, Callable[[Any], None], object], ...] = (
        ("name", validate_name, spec.name),
        ("engine", validate_name, spec.engine),
        ("labels", validate_labels, spec.labels or {}),
    )
    for name, check, value in checks:
        try:
            check(value)
        except ValidationError as error:
            errors[name] = error.messages
    if spec.role is Role.WORKER and spec.worker_id is None:
        errors["worker_id"] = ["A worker has a worker id, 0 for the first."]
    if spec.role is Role.SCHEDULER and spec.worker_id is not None:
        errors["worker_id"] = ["A scheduler has no worker id; leave it out."]
    if spec.worker_id is not None and not 0 <= spec.worker_id <= MAX_WORKER_ID:
        errors["worker_id"] = [f"A worker id is 0 to {MAX_WORKER_ID}."]
    if spec.token and not _is_header_value(spec.token):
        errors["token"] = ["A token has visible ASCII characters only."]
    if errors:
        raise ValidationError(errors)
    return AgentSpec(**{**vars(spec), "url": url})


def _is_header_value(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token
