"""In which order an operation goes through its agents, and what failures it bears."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controlplane.operations.effects import is_undoable
from engine.contract import ContractError, Endpoint


class OnFailure(StrEnum):
    """What is done when more agents failed than is borne."""

    STOP = "stop"
    """Agents that were not called yet are not."""
    ROLLBACK = "rollback"
    """And those that did it take it back."""


@dataclass(frozen=True)
class Strategy:
    """Waves follow each other after `pause_s` seconds; the first has `canary` agents
    (0: no such wave), the others `wave_size` (0: all that are left). After a wave
    with more than `max_failures` failures altogether, `on_failure`."""

    canary: int = 0
    wave_size: int = 0
    pause_s: float = 0.0
    max_failures: int | None = None
    """None: failures are borne."""
    on_failure: OnFailure = OnFailure.STOP

    def describe(self) -> dict[str, object]:
        """As it is stored and shown; empty for all at once."""
        if self == Strategy():
            return {}
        return {
            "canary": self.canary,
            "wave_size": self.wave_size,
            "pause_s": self.pause_s,
            "max_failures": self.max_failures,
            "on_failure": self.on_failure.value,
        }

    @classmethod
    def of(cls, described: dict[str, object]) -> "Strategy":
        """What describe() told."""
        if not described:
            return cls()
        return cls(**{**described, "on_failure": OnFailure(str(described["on_failure"]))})  # type: ignore[arg-type]

    def waves(self, count: int) -> Sequence[int]:
        """The wave of each of `count` agents."""
        rest = count - min(self.canary, count)
        size = self.wave_size or max(1, rest)
        first = 1 if self.canary else 0
        return [0] * (count - rest) + [first + place // size for place in range(rest)]


def check_strategy(strategy: Strategy, endpoint: Endpoint) -> None:
    """Raises ContractError (400) for a rollback of what cannot be taken back."""
    if strategy.on_failure is OnFailure.ROLLBACK and not is_undoable(endpoint):
        raise ContractError(
            400,
            "Invalid strategy",
            f"'strategy.on_failure': {endpoint.action} cannot be taken back; use stop.",
        )
