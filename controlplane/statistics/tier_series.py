"""Time series of what agents' tiers were asked for, had, and held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.statistics.models import (
    TIER_COUNTS,
    TIER_LEVELS,
    TOKEN_COUNTS,
    TierStatisticsSnapshot,
    tier_count,
    tier_of,
)
from controlplane.statistics.steps import Tally, tallies_of_agent, tallies_of_engine
from controlplane.statistics.window import Window, window_of


@dataclass(frozen=True)
class TierUse:
    """One tier in a bucket: the tokens that it was asked for and those that it had, and what
    was in it at the end, over all agents. `capacity_bytes` is 0 if there is no limit."""

    looked_up_tokens: int
    hit_tokens: int
    chunks: int
    used_bytes: int
    capacity_bytes: int

    @property
    def hit_rate(self) -> float | None:
        """hit_tokens / looked_up_tokens; None: nothing was looked up."""
        return self.hit_tokens / self.looked_up_tokens if self.looked_up_tokens else None

    @property
    def told_bytes(self) -> int | None:
        """used_bytes; None: it has chunks, and does not tell of how many bytes."""
        return None if self.chunks and not self.used_bytes else self.used_bytes


@dataclass(frozen=True)
class TierBucket:
    """What was counted from `start` to before `end`.

    `samples` is the number of snapshots, `runs` that of the distinct runs of agents that
    they belong to, `agents` that of the agents themselves. Without a snapshot the counts and
    the tiers are None: nobody knows; a count is None too if no agent tells it. What is in a
    tier is what the last snapshot of each agent says. `begun` are the moments of the first
    snapshots of runs that followed another run of the agent.
    """

    start: datetime
    end: datetime
    samples: int
    runs: int
    agents: int
    requested_tokens: int | None
    retrieved_tokens: int | None
    stored_tokens: int | None
    tiers: Mapping[str, TierUse] | None
    begun: tuple[datetime, ...] = ()


def tier_series_of_agent(
    agent: str, *, since: datetime, until: datetime, bucket_s: int
) -> list[TierBucket]:
    """The whole buckets of `bucket_s` seconds that hold the time from `since` to before
    `until`, at most 2,000 of them; they begin at multiples of `bucket_s` since 1970.

    Raises InvalidParameter (400) for bounds or a size that cannot be, and AgentNotFound
    (404) for a name that was never heard of.
    """
    window = window_of(since, until, bucket_s)
    return _buckets(tallies_of_agent(TierStatisticsSnapshot, agent, window), window)


def tier_series_of_engine(
    engine: str, *, since: datetime, until: datetime, bucket_s: int
) -> list[TierBucket]:
    """As tier_series_of_agent, the sums over the agents while they belonged to the engine.
    Raises InvalidParameter (400) and EngineNotFound (404)."""
    window = window_of(since, until, bucket_s)
    return _buckets(tallies_of_engine(TierStatisticsSnapshot, engine, window), window)


def _buckets(tallies: Sequence[Tally[TierStatisticsSnapshot]], window: Window) -> list[TierBucket]:
    return [
        _bucket(tally, window.start_of(index), window.start_of(index + 1))
        for index, tally in enumerate(tallies)
    ]


def _bucket(tally: Tally[TierStatisticsSnapshot], start: datetime, end: datetime) -> TierBucket:
    if not tally.samples:
        return TierBucket(start, end, 0, 0, 0, None, None, None, None)
    return TierBucket(
        start,
        end,
        tally.samples,
        tally.runs,
        len(tally.last),
        **{name: tally.counted.get(name) for name in TOKEN_COUNTS},
        tiers=_tiers(tally),
        begun=tuple(sorted(tally.begun)),
    )


def _tiers(tally: Tally[TierStatisticsSnapshot]) -> dict[str, TierUse]:
    """By name, in the order of the names: those that are there at the end, and those that
    had been asked and are gone."""
    there = {name for snapshot in tally.last.values() for name in snapshot.tiers}
    asked = {tier_of(count) for count, number in tally.counted.items() if number}
    return {name: _use(name, tally) for name in sorted((there | asked) - {""})}


def _use(name: str, tally: Tally[TierStatisticsSnapshot]) -> TierUse:
    said = [snapshot.tiers[name] for snapshot in tally.last.values() if name in snapshot.tiers]
    levels = {level: sum(tier[level] for tier in said) for level in TIER_LEVELS}
    if not all(tier["capacity_bytes"] for tier in said):
        # With one that has no limit, all of them together have none.
        levels["capacity_bytes"] = 0
    counts = {count: tally.counted[tier_count(name, count)] for count in TIER_COUNTS}
    return TierUse(**counts, **levels)
