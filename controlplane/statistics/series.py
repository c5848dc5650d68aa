"""Time series of chunks that were counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.statistics.models import ChunkStatisticsSnapshot
from controlplane.statistics.steps import Tally, tallies_of_agent, tallies_of_engine
from controlplane.statistics.window import Window, window_of


@dataclass(frozen=True)
class Bucket:
    """What was counted from `start` to before `end`.

    `samples` is the number of snapshots, `runs` that of the distinct runs of agents that
    they belong to. Without a snapshot the counts are None: nobody knows. `reuse_rate` is
    duplicate_chunks / total_chunks, None also if no chunk was counted. `begun` are the
    moments of the first snapshots of runs that followed another run of the agent.
    """

    start: datetime
    end: datetime
    samples: int
    runs: int
    total_requests: int | None
    total_chunks: int | None
    unique_chunks: int | None
    duplicate_chunks: int | None
    reuse_rate: float | None
    begun: tuple[datetime, ...] = ()


def series_of_agent(agent: str, *, since: datetime, until: datetime, bucket_s: int) -> list[Bucket]:
    """The whole buckets of `bucket_s` seconds that hold the time from `since` to before
    `until`, at most 2,000 of them; they begin at multiples of `bucket_s` since 1970.

    Raises InvalidParameter (400) for bounds or a size that cannot be, and AgentNotFound
    (404) for a name that was never heard of.
    """
    window = window_of(since, until, bucket_s)
    return _buckets(tallies_of_agent(ChunkStatisticsSnapshot, agent, window), window)


def series_of_engine(
    engine: str, *, since: datetime, until: datetime, bucket_s: int
) -> list[Bucket]:
    """As series_of_agent, the sums over the agents while they belonged to the engine.
    Raises InvalidParameter (400) and EngineNotFound (404)."""
    window = window_of(since, until, bucket_s)
    return _buckets(tallies_of_engine(ChunkStatisticsSnapshot, engine, window), window)


def _buckets(tallies: Sequence[Tally[ChunkStatisticsSnapshot]], window: Window) -> list[Bucket]:
    return [
        _bucket(tally, window.start_of(index), window.start_of(index + 1))
        for index, tally in enumerate(tallies)
    ]


def _bucket(tally: Tally[ChunkStatisticsSnapshot], start: datetime, end: datetime) -> Bucket:
    if not tally.samples:
        return Bucket(start, end, 0, 0, None, None, None, None, None)
    counted = {name: tally.counted[name] for name in ChunkStatisticsSnapshot.count_columns}
    total = counted["total_chunks"]
    return Bucket(
        start,
        end,
        tally.samples,
        tally.runs,
        **counted,
        reuse_rate=counted["duplicate_chunks"] / total if total else None,
        begun=tuple(sorted(tally.begun)),
    )
