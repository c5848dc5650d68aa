"""Time series out of snapshots.

What was counted between two snapshots of a run belongs to the bucket of the later one,
also when there are empty buckets between them: nobody knows when it was counted. The
first snapshot of a run counts from zero, because the counts began there; but the first
that is known of an agent counts nothing, because nobody knows since when it had counted.
So the sum over all buckets depends neither on their size nor on which snapshots inside a
bucket were down-sampled away.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from controlplane.fleet.models import Agent, Engine
from controlplane.fleet.services import AgentNotFound, EngineNotFound
from controlplane.statistics.models import ChunkStatisticsSnapshot
from controlplane.statistics.window import Window, window_of

_ROWS_AT_ONCE = 2_000


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
    tallies = _Tallies(window)
    for step in _steps(agent, window):
        tallies.add(step)
    if tallies.is_empty and not _is_known_agent(agent):
        raise AgentNotFound(agent)
    return tallies.buckets()


def series_of_engine(
    engine: str, *, since: datetime, until: datetime, bucket_s: int
) -> list[Bucket]:
    """As series_of_agent, the sums over the agents while they belonged to the engine.
    Raises InvalidParameter (400) and EngineNotFound (404)."""
    window = window_of(since, until, bucket_s)
    tallies = _Tallies(window)
    for agent in _agents_of(engine, window):
        # An agent's steps are told from all of its snapshots: with those of another
        # engine left out, what was counted there would be added here.
        for step in _steps(agent, window):
            if step.engine == engine:
                tallies.add(step)
    if tallies.is_empty and not _is_known_engine(engine):
        raise EngineNotFound(engine)
    return tallies.buckets()


class _Counts(NamedTuple):
    """Counts, with the names of the columns."""

    total_requests: int
    total_chunks: int
    unique_chunks: int
    duplicate_chunks: int


_NOTHING = _Counts(0, 0, 0, 0)


class _Step(NamedTuple):
    """A snapshot, and what was counted between it and the one before."""

    taken_at: datetime
    agent: str
    engine: str
    run: int
    counted: _Counts
    begins_anew: bool
    """Whether it is the first of a run that followed another."""


def _steps(agent: str, window: Window) -> Iterator[_Step]:
    """The agent's snapshots inside the window, oldest first."""
    rows = ChunkStatisticsSnapshot.objects.filter(agent=agent).values_list(
        "taken_at", "engine", "run", *_Counts._fields
    )
    before = rows.filter(taken_at__lt=window.start).order_by("-taken_at", "-id").first()
    run, counts = (None, _NOTHING) if before is None else (before[2], _Counts(*before[3:]))
    inside = rows.filter(taken_at__gte=window.start, taken_at__lt=window.end)
    for row in inside.order_by("taken_at", "id").iterator(_ROWS_AT_ONCE):
        now = _Counts(*row[3:])
        if run is None:
            base = now
        elif run == row[2]:
            base = counts
        else:
            base = _NOTHING
        counted = _Counts(*(after - past for after, past in zip(now, base, strict=True)))
        yield _Step(row[0], agent, row[1], row[2], counted, run not in (None, row[2]))
        run, counts = row[2], now


@dataclass
class _Tally:
    """What one bucket has come to."""

    samples: int = 0
    runs: int = 0
    counted: _Counts = field(default=_NOTHING)
    begun: list[datetime] = field(default_factory=list)


class _Tallies:
    """Sums of the steps of one agent after the other."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._tallies = [_Tally() for _ in range(window.count)]
        self._last: tuple[int, str, int] | None = None

    @property
    def is_empty(self) -> bool:
        return self._last is None

    def add(self, step: _Step) -> None:
        index = self._window.index_of(step.taken_at)
        tally = self._tallies[index]
        tally.samples += 1
        # Steps come in order of agents and time, so those of a run in a bucket do too.
        this = (index, step.agent, step.run)
        tally.runs += this != self._last
        self._last = this
        if step.begins_anew:
            tally.begun.append(step.taken_at)
        tally.counted = _Counts(
            *(past + more for past, more in zip(tally.counted, step.counted, strict=True))
        )

    def buckets(self) -> list[Bucket]:
        return [self._bucket(index, tally) for index, tally in enumerate(self._tallies)]

    def _bucket(self, index: int, tally: _Tally) -> Bucket:
        start, end = self._window.start_of(index), self._window.start_of(index + 1)
        if not tally.samples:
            return Bucket(start, end, 0, 0, None, None, None, None, None)
        counted = tally.counted
        total = counted.total_chunks
        rate = counted.duplicate_chunks / total if total else None
        return Bucket(
            start, end, tally.samples, tally.runs, *counted, rate, tuple(sorted(tally.begun))
        )


def _agents_of(engine: str, window: Window) -> list[str]:
    inside = ChunkStatisticsSnapshot.objects.filter(
        engine=engine, taken_at__gte=window.start, taken_at__lt=window.end
    )
    return list(inside.order_by("agent").values_list("agent", flat=True).distinct())


def _is_known_agent(name: str) -> bool:
    return (
        Agent.objects.filter(name=name).exists()
        or ChunkStatisticsSnapshot.objects.filter(agent=name).exists()
    )


def _is_known_engine(name: str) -> bool:
    return (
        Engine.objects.filter(name=name).exists()
        or ChunkStatisticsSnapshot.objects.filter(engine=name).exists()
    )
