"""What was counted between the snapshots of agents, added up bucket by bucket.

What was counted between two snapshots of a run belongs to the bucket of the later one,
also when there are empty buckets between them: nobody knows when it was counted. The
first snapshot of a run counts from zero, because the counts began there; but the first
that is known of an agent counts nothing, because nobody knows since when it had counted.
So the sum over all buckets depends neither on their size nor on which snapshots inside a
bucket were down-sampled away.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Generic, TypeVar

from django.db.models import Min, OuterRef, QuerySet, Subquery

from controlplane.fleet.models import Agent, Engine
from controlplane.fleet.services import AgentNotFound, EngineNotFound
from controlplane.statistics.models import KINDS, Snapshot
from controlplane.statistics.standing import Standing, standing
from controlplane.statistics.window import Window

Kind = TypeVar("Kind", bound=Snapshot)
_NOTHING: Mapping[str, int] = {}


@dataclass
class Tally(Generic[Kind]):
    """What one bucket has come to: the number of snapshots, that of the distinct runs of
    agents that they belong to, what was counted, by name, the moments of the first snapshots
    of runs that followed another run of the agent, and the last snapshot of each agent."""

    samples: int = 0
    runs: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    begun: list[datetime] = field(default_factory=list)
    last: dict[str, Kind] = field(default_factory=dict)


def tallies_of_agent(kind: type[Kind], agent: str, window: Window) -> list[Tally[Kind]]:
    """One for each bucket of the window. Two queries. Raises AgentNotFound (404) for a name
    that was never heard of."""
    rows = kind._default_manager.filter(agent=agent)
    before = rows.filter(taken_at__lt=window.start).order_by("-taken_at", "-id")[:1]
    tallies = _Tallies[Kind](window)
    for step in _steps(rows, before, window):
        tallies.add(step)
    if tallies.is_empty and not _is_known_agent(agent):
        raise AgentNotFound(agent)
    return tallies.of_buckets


def tallies_of_engine(kind: type[Kind], engine: str, window: Window) -> list[Tally[Kind]]:
    """As tallies_of_agent, the sums over the agents while they belonged to the engine. Three
    queries, of however many agents. Raises EngineNotFound (404)."""
    there = _one_of_each_agent(kind, engine, window)
    # An agent's steps are told from all of its snapshots: with those of another
    # engine left out, what was counted there would be added here.
    rows = kind._default_manager.filter(agent__in=there.keys())
    before = _last_before(kind, there.values(), window.start)
    tallies = _Tallies[Kind](window)
    for step in _steps(rows, before, window):
        if step.snapshot.engine == engine:
            tallies.add(step)
    if tallies.is_empty and not _is_known_engine(engine):
        raise EngineNotFound(engine)
    return tallies.of_buckets


@dataclass(frozen=True)
class _Step(Generic[Kind]):
    """A snapshot, and what was counted between it and the one before; `samples` is how many
    snapshots it stands for, all of its bucket, run and engine."""

    snapshot: Kind
    samples: int
    counted: Mapping[str, int]
    begins_anew: bool
    """Whether it is the first of a run that followed another."""


def _steps(rows: QuerySet[Kind], before: QuerySet[Kind], window: Window) -> Iterator[_Step[Kind]]:
    """The snapshots in `rows` inside the window, agent by agent, oldest first, as far as they
    say more than the next one of their bucket; `before` has the last one of each agent before
    the window. Two queries."""
    needed = ("agent", "taken_at", "engine", "run", *rows.model.count_columns)
    earlier = {row.agent: row for row in before.only(*needed)}
    inside = rows.filter(taken_at__gte=window.start, taken_at__lt=window.end).only(*needed)
    for agent, found in groupby(standing(inside, window.size), lambda row: row.snapshot.agent):
        yield from _steps_of_one(found, earlier.get(agent))


def _steps_of_one(found: Iterable[Standing[Kind]], earlier: Kind | None) -> Iterator[_Step[Kind]]:
    """The steps of an agent; `earlier` is its last snapshot before them, None if they are the
    first that is known of it."""
    run, counts = (None, _NOTHING) if earlier is None else (earlier.run, earlier.counts)
    for row in found:
        snapshot = row.snapshot
        now = snapshot.counts
        if run is None:
            base = now
        elif run == snapshot.run:
            base = counts
        else:
            base = _NOTHING
        counted = {name: count - base.get(name, 0) for name, count in now.items()}
        yield _Step(snapshot, row.samples, counted, run not in (None, snapshot.run))
        run, counts = snapshot.run, now


class _Tallies(Generic[Kind]):
    """Sums of the steps of one agent after the other."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.of_buckets: list[Tally[Kind]] = [Tally() for _ in range(window.count)]
        self._last: tuple[int, str, int] | None = None

    @property
    def is_empty(self) -> bool:
        return self._last is None

    def add(self, step: _Step[Kind]) -> None:
        snapshot = step.snapshot
        index = self._window.index_of(snapshot.taken_at)
        tally = self.of_buckets[index]
        tally.samples += step.samples
        # Steps come in order of agents and time, so those of a run in a bucket do too.
        this = (index, snapshot.agent, snapshot.run)
        tally.runs += this != self._last
        self._last = this
        if step.begins_anew:
            tally.begun.append(snapshot.taken_at)
        tally.counted.update(step.counted)
        tally.last[snapshot.agent] = snapshot


def agents_counted(engine: str, start: datetime, end: datetime) -> set[str]:
    """The agents of which there is a snapshot of any kind from `start` to before `end`, taken
    while they belonged to the engine; they may be removed since. A query for each kind."""
    return {
        agent
        for kind in KINDS
        for agent in kind._default_manager.filter(
            engine=engine, taken_at__gte=start, taken_at__lt=end
        )
        .order_by("agent")
        .values_list("agent", flat=True)
        .distinct()
    }


def _one_of_each_agent(kind: type[Kind], engine: str, window: Window) -> dict[str, int]:
    """The agents that were counted inside the window while they belonged to the engine, each
    with the id of one of its snapshots."""
    inside = kind._default_manager.filter(
        engine=engine, taken_at__gte=window.start, taken_at__lt=window.end
    )
    return dict(inside.order_by("agent").values_list("agent").annotate(Min("id")))


def _last_before(kind: type[Kind], ids: Iterable[int], moment: datetime) -> QuerySet[Kind]:
    """The last snapshots before the moment of the agents that those with the ids are of."""
    # The database looks each of them up in the index; a window function would read all that
    # was ever kept of the agents.
    last = (
        kind._default_manager.filter(agent=OuterRef("agent"), taken_at__lt=moment)
        .order_by("-taken_at", "-id")
        .values("id")[:1]
    )
    of_each = kind._default_manager.filter(pk__in=ids).order_by().values(last=Subquery(last))
    return kind._default_manager.filter(pk__in=of_each)


def _is_known_agent(name: str) -> bool:
    return Agent.objects.filter(name=name).exists() or any(
        kind._default_manager.filter(agent=name).exists() for kind in KINDS
    )


def _is_known_engine(name: str) -> bool:
    return Engine.objects.filter(name=name).exists() or any(
        kind._default_manager.filter(engine=name).exists() for kind in KINDS
    )
