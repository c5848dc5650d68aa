"""Writing snapshots after those that are on record, and telling where the counts of an agent
began anew."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from django.db import transaction
from django.db.models import OuterRef, Subquery

from controlplane.fleet.models import Agent
from controlplane.rows import insert_rows
from controlplane.statistics.models import Snapshot, Trigger

Kind = TypeVar("Kind", bound=Snapshot)


@dataclass(frozen=True)
class Asked:
    """When an agent was asked, and when its answer arrived, by this machine's clock."""

    at: datetime
    answered_at: datetime


@dataclass(frozen=True)
class Sample(Generic[Kind]):
    """A snapshot that is not on record yet, and has no run: whose it is, and when that agent
    was asked for it."""

    agent: Agent
    snapshot: Kind
    asked: Asked


def append(samples: Sequence[Sample[Kind]]) -> list[Kind]:
    """Write snapshots of one kind, at most one of an agent, in a transaction of its own or the
    caller's. What was written; left out are those of which a later one is on record, and those
    of agents that were removed meanwhile.

    The counts began anew, and the snapshot opens a new run, if the boot id differs, a count
    went down, or the trigger is RESET. Three queries and an INSERT for each. Raises
    django.db.DatabaseError.
    """
    written = []
    with transaction.atomic():
        locked = _lock(samples)
        latest = _latest(samples)
        for sample in samples:
            if sample.agent.pk not in locked:
                continue
            before = latest.get(sample.agent.name)
            if before is None:
                sample.snapshot.run = 1
            elif _is_overtaken(sample, before):
                continue
            else:
                sample.snapshot.run = before.run + _begins_anew(sample.snapshot, before)
            written.append(sample.snapshot)
        if written:
            insert_rows(*written)
    return written


def _lock(samples: Sequence[Sample[Kind]]) -> set[int]:
    """The keys of the agents that there are."""
    # Their own rows, because before the first snapshot there is none to lock, and in the order
    # of names, as everybody does. SQLite locks the whole database when the transaction begins.
    rows = Agent.objects.select_for_update(no_key=True).filter(pk__in=_keys(samples))
    return set(rows.order_by("name").values_list("pk", flat=True))


def _latest(samples: Sequence[Sample[Kind]]) -> dict[str, Kind]:
    """By agent. Asked for once the agents are locked: what was read before may be old."""
    kind = type(samples[0].snapshot)
    newest = kind._default_manager.filter(agent=OuterRef("name")).order_by("-taken_at", "-id")
    keys = Agent.objects.filter(pk__in=_keys(samples)).values_list(
        Subquery(newest.values("pk")[:1])
    )
    rows: Iterable[Kind] = kind._default_manager.filter(pk__in=keys)
    return {row.agent: row for row in rows}


def _keys(samples: Sequence[Sample[Kind]]) -> list[int]:
    return [sample.agent.pk for sample in samples]


def _is_overtaken(sample: Sample[Kind], latest: Kind) -> bool:
    """Whether `latest` is the later one: by our clock, or, for answers of one process that
    may have passed each other on their way, by what the process said. Lower counts would look
    like counts that began anew, and all of them would be counted twice."""
    snapshot = sample.snapshot
    if snapshot.taken_at < latest.taken_at:
        return True
    if sample.asked.at >= latest.taken_at:
        # Whatever the agent's clock says, which somebody may have set.
        return False
    return snapshot.boot_id == latest.boot_id and snapshot.was_said_before(latest)


def _begins_anew(snapshot: Kind, latest: Kind) -> bool:
    return (
        snapshot.boot_id != latest.boot_id
        or snapshot.trigger == Trigger.RESET
        or snapshot.went_down_since(latest)
    )
