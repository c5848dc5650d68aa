"""Numbers out of what an agent says about itself, for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

_RATES = (
    ("lookup_hit_tokens", "lookup_tokens", "tokens looked up"),
    ("lookup_served_hit_chunks", "lookup_served_chunks", "chunks looked up"),
    ("retrieved_tokens", "requested_tokens", "tokens asked for"),
)
_MEMORY = "LocalCPUBackend"
_MOST = (1 << 63) - 1


@dataclass(frozen=True)
class Rate:
    """`hits` out of `total`, of what `unit` says, since the agent's start."""

    hits: int
    total: int
    unit: str

    @property
    def percent(self) -> float:
        """From 0 to 100."""
        return 100 * self.hits / self.total


@dataclass(frozen=True)
class Usage:
    """Bytes. A capacity of 0 is no limit."""

    used: int
    capacity: int


@dataclass(frozen=True)
class Tier:
    """A backend and what it holds; one whose breaker is open is left alone."""

    name: str
    chunks: int
    usage: Usage
    is_left_alone: bool
    queued: int
    """Chunks that wait to be written."""


def hit_rate(status: Mapping[str, object]) -> Rate | None:
    """How much was found of what was looked for; None: nothing was, or the agent does
    not say."""
    counters = status.get("counters")
    if not isinstance(counters, Mapping):
        return None
    for hits, total, unit in _RATES:
        looked_for = _count(counters, total)
        if looked_for > 0:
            return Rate(min(_count(counters, hits), looked_for), looked_for, unit)
    return None


def memory_use(status: Mapping[str, object]) -> Usage | None:
    """How full the hot cache is; None: there is none, or the agent does not say."""
    storage = status.get("storage")
    memory = storage.get(_MEMORY) if isinstance(storage, Mapping) else None
    if not isinstance(memory, Mapping):
        return None
    capacity = _count(memory, "capacity_bytes")
    return Usage(_count(memory, "used_bytes"), capacity) if capacity > 0 else None


def tiers_of(status: Mapping[str, object]) -> list[Tier]:
    """The agent's tiers, as far as it tells of them."""
    storage = status.get("storage")
    if not isinstance(storage, Mapping):
        return []
    return [
        Tier(
            str(name),
            _count(tier, "chunks"),
            Usage(_count(tier, "used_bytes"), _count(tier, "capacity_bytes")),
            tier.get("breaker") == "open",
            _count(tier, "queued"),
        )
        for name, tier in storage.items()
        if isinstance(tier, Mapping)
    ]


def counters_of(status: Mapping[str, object]) -> list[tuple[str, float]]:
    """What the agent counted since its start, by name; seconds are a fraction."""
    counters = status.get("counters")
    if not isinstance(counters, Mapping):
        return []
    numbers = ((str(name), value) for name, value in sorted(counters.items()))
    return [(name, value) for name, value in numbers if _is_number(value)]


def _count(counts: Mapping[str, object], name: str) -> int:
    value = counts.get(name)
    return int(value) if _is_number(value) else 0


def _is_number(value: object) -> TypeGuard[int | float]:
    """One that somebody could have counted: agents may say anything."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
