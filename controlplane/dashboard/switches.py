"""The modes of an agent as badges: what it is in, and what it should be in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controlplane.fleet.models import Agent
from controlplane.modes.models import DesiredMode, Mode


class Tone(StrEnum):
    """How a badge looks."""

    OK = "ok"
    NEUTRAL = "neutral"
    WARN = "warn"
    BAD = "bad"
    FROZEN = "frozen"


@dataclass(frozen=True)
class Badge:
    """A few words about an agent. `kind` is what filters look for."""

    kind: str
    text: str
    tone: Tone
    reason: str = ""
    """Who wanted it and why, or what it is in detail."""
    expires_at: datetime | None = None
    """When the control plane reverts it; None: not by itself."""


def mode_badges(agent: Agent, desired: Iterable[DesiredMode]) -> list[Badge]:
    """What is worth telling: frozen, bypassed, hot cache off, and whatever ends by
    itself. An agent that was not heard of since a change is in what was changed."""
    wanted = {(row.mode, row.backend): row for row in desired}
    observed = observed_modes(agent)
    badges = []
    for mode, backend in sorted({*wanted, *observed}):
        row = wanted.get((mode, backend))
        value = observed.get((mode, backend), mode == Mode.HOT_CACHE)
        is_newer = row is not None and (
            agent.last_seen_at is None or row.since >= agent.last_seen_at
        )
        if row is not None and (is_newer or (mode, backend) not in observed):
            value = row.value
        badge = _badge(mode, backend, row, value=value)
        if badge is not None:
            badges.append(badge)
    return badges


def observed_modes(agent: Agent) -> dict[tuple[str, str], bool]:
    """What the agent told when it was last seen, by mode and backend. Backends that are
    not bypassed are left out."""
    status: Mapping[str, object] = agent.last_status
    found: dict[tuple[str, str], bool] = {}
    for mode in (Mode.FREEZE, Mode.HOT_CACHE):
        value = status.get(mode.value)
        if isinstance(value, bool):
            found[mode.value, ""] = value
    backends = status.get("bypassed_backends")
    if isinstance(backends, list):
        found.update({(Mode.BYPASS.value, str(name)): True for name in backends})
    return found


def _badge(mode: str, backend: str, row: DesiredMode | None, *, value: bool) -> Badge | None:
    expires_at = None if row is None or row.value != value else row.expires_at
    reason = "" if row is None or row.value != value else _why(row)
    if mode == Mode.FREEZE:
        if value:
            return Badge("frozen", "frozen", Tone.FROZEN, reason, expires_at)
        kind, text = "thawed", "not frozen"
    elif mode == Mode.BYPASS:
        if value:
            return Badge("bypassed", f"bypass {backend}", Tone.WARN, reason, expires_at)
        kind, text = "read", f"no bypass {backend}"
    else:
        if not value:
            return Badge("hot-cache-off", "hot cache off", Tone.WARN, reason, expires_at)
        kind, text = "hot-cache-on", "hot cache on"
    # As usual: told only while it is not to last.
    return None if expires_at is None else Badge(kind, text, Tone.NEUTRAL, reason, expires_at)


def _why(row: DesiredMode) -> str:
    reason = f": {row.change.reason}" if row.change.reason else ""
    return f"by {row.change.actor_name}{reason}"
