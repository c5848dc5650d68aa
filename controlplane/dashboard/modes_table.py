"""The modes of an agent: what each should be, and what it was found to be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controlplane.dashboard.switches import observed_modes
from controlplane.fleet.models import Agent
from controlplane.modes.models import DesiredMode, Mode


class Position(StrEnum):
    """Of a switch, as far as it is known."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ModeRow:
    """One mode. `wish` is what somebody said that it should be; None: nobody said
    anything."""

    mode: str
    backend: str
    wish: DesiredMode | None
    effective: Position

    @property
    def desired(self) -> Position:
        """What it should be."""
        return Position.UNKNOWN if self.wish is None else _position(is_on=self.wish.value)

    @property
    def differs(self) -> bool:
        """Whether it was found to be otherwise than it should."""
        return Position.UNKNOWN not in (self.desired, self.effective) and (
            self.desired is not self.effective
        )


def mode_rows(agent: Agent, desired: Iterable[DesiredMode]) -> list[ModeRow]:
    """Every mode that somebody set, and every other one that the agent told of."""
    wishes = {(row.mode, row.backend): row for row in desired}
    observed = observed_modes(agent)
    return [
        ModeRow(*switch, wishes.get(switch), _effective(agent, switch, wishes, observed))
        for switch in sorted({*wishes, *observed})
    ]


def _effective(
    agent: Agent,
    switch: tuple[str, str],
    wishes: Mapping[tuple[str, str], DesiredMode],
    observed: Mapping[tuple[str, str], bool],
) -> Position:
    wish = wishes.get(switch)
    if agent.last_seen_at is None or (wish is not None and wish.since >= agent.last_seen_at):
        return Position.UNKNOWN
    if switch in observed:
        return _position(is_on=observed[switch])
    # An agent that told which backends it leaves out leaves out no other.
    tells_of_bypasses = isinstance(agent.last_status.get("bypassed_backends"), list)
    is_bypass = switch[0] == Mode.BYPASS
    return Position.OFF if is_bypass and tells_of_bypasses else Position.UNKNOWN


def _position(*, is_on: bool) -> Position:
    return Position.ON if is_on else Position.OFF
