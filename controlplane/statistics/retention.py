"""How long snapshots are kept, and how many of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from controlplane.statistics.models import KINDS, Snapshot
from controlplane.statistics.window import floor

_BATCH = 1_000
"""Rows changed in one transaction: others wait to write meanwhile."""


@dataclass(frozen=True)
class Retention:
    """`raw_days`: how old a snapshot becomes before only the last of each bucket of
    `bucket_s` seconds stays. `keep_days`: how old that becomes."""

    raw_days: int
    bucket_s: int
    keep_days: int


@dataclass(frozen=True)
class Pruned:
    """How many rows now stand for their bucket, were deleted because another one does,
    and were deleted because of their age."""

    kept: int = 0
    thinned: int = 0
    expired: int = 0


def configured_retention() -> Retention:
    """What the settings say."""
    return Retention(
        raw_days=getattr(settings, "KVPLANE_STATISTICS_RAW_DAYS", 7),
        bucket_s=getattr(settings, "KVPLANE_STATISTICS_BUCKET_SECONDS", 3_600),
        keep_days=getattr(settings, "KVPLANE_STATISTICS_KEEP_DAYS", 365),
    )


def prune(now: datetime) -> Pruned:
    """Delete what is too old of every kind, and down-sample what is old, at the aware moment
    `now`.

    Of the rows of one kind that an agent has in one bucket the last one of each run stays, and
    the agent's first row, which the counts of the second are told from: the series in
    multiples of the bucket stay as they are. At most 1,000 rows are changed in one
    transaction, so this can be cut off and run again. Raises django.db.DatabaseError.
    """
    retention = configured_retention()
    done = Pruned()
    for kind in KINDS:
        expired = _expire(kind, now - timedelta(days=retention.keep_days))
        kept, thinned = _thin(kind, now, retention)
        done = Pruned(done.kept + kept, done.thinned + thinned, done.expired + expired)
    return done


def _expire(kind: type[Snapshot], before: datetime) -> int:
    old = kind._default_manager.filter(taken_at__lt=before).order_by("taken_at")
    expired = 0
    while batch := list(old.values_list("pk", flat=True)[:_BATCH]):
        expired += _delete(kind, batch)
    return expired


def _thin(kind: type[Snapshot], now: datetime, retention: Retention) -> tuple[int, int]:
    size = timedelta(seconds=retention.bucket_s)
    # Whole buckets only: one that is cut in two would keep a row of each part.
    before = floor(now - timedelta(days=retention.raw_days), size)
    raw = kind._default_manager.filter(resolution_s=0, taken_at__lt=before)
    kept = thinned = 0
    for agent in list(raw.order_by("agent").values_list("agent", flat=True).distinct()):
        rows_of_agent = raw.filter(agent=agent)
        while stretch := _oldest(rows_of_agent):
            standing = _standing(stretch, _first_of(kind, agent), size)
            others = [row.pk for row in stretch[:_BATCH] if row.pk not in standing]
            with transaction.atomic():
                kept += kind._default_manager.filter(pk__in=standing).update(
                    resolution_s=retention.bucket_s
                )
                thinned += _delete(kind, others)
    return kept, thinned


class _Row(NamedTuple):
    """What tells whether a snapshot stays."""

    pk: int
    taken_at: datetime
    run: int
    engine: str


def _oldest(rows: QuerySet[Snapshot]) -> list[_Row]:
    """A batch of an agent's rows, and the row after it if there is one."""
    columns = rows.order_by("taken_at", "id").values_list(*_Row._fields)
    return [_Row(*row) for row in columns[: _BATCH + 1]]


def _standing(stretch: list[_Row], first: int | None, size: timedelta) -> list[int]:
    """Which of a batch stay: those after which another bucket, run or engine begins."""
    following = [*stretch[1:], None]
    return [
        row.pk
        for row, after in list(zip(stretch, following, strict=True))[:_BATCH]
        if row.pk == first or after is None or _place(row, size) != _place(after, size)
    ]


def _place(row: _Row, size: timedelta) -> tuple[datetime, int, str]:
    return floor(row.taken_at, size), row.run, row.engine


def _first_of(kind: type[Snapshot], agent: str) -> int | None:
    """The agent's first row; None if all were deleted meanwhile."""
    rows = kind._default_manager.filter(agent=agent).order_by("taken_at", "id")
    return rows.values_list("pk", flat=True).first()


def _delete(kind: type[Snapshot], keys: list[int]) -> int:
    deleted, _ = kind._default_manager.filter(pk__in=keys).delete()
    return deleted
