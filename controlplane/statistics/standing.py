"""Finding the snapshots that a series can be told from, among many that say no more.

Within one bucket, run and engine the last snapshot has all that was counted. The database
leaves out the others, with the numbers in them: a week of an engine is more than a hundred
thousand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, F, Func, Q, QuerySet, Window
from django.db.models.functions import Lag, Lead, RowNumber
from django.db.models.sql.compiler import SQLCompiler

from controlplane.statistics.models import Snapshot

Kind = TypeVar("Kind", bound=Snapshot)
_ROWS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Standing(Generic[Kind]):
    """A snapshot, and how many it stands for: itself, and those between it and the one
    before."""

    snapshot: Kind
    samples: int


def standing(snapshots: QuerySet[Kind], bucket: timedelta) -> Iterator[Standing[Kind]]:
    """Of the snapshots of each agent the last of each stretch of one bucket, run and engine, and
    the first of each run, agent by agent, oldest first; buckets begin at multiples of their
    length since 1970. One query."""
    agent, place = "", 0
    for row in _standing(snapshots, bucket).iterator(_ROWS_AT_ONCE):
        before = place if row.agent == agent else 0
        yield Standing(row, row.place - before)
        agent, place = row.agent, row.place


def _standing(snapshots: QuerySet[Kind], bucket: timedelta) -> QuerySet[Any]:
    places = snapshots.annotate(
        place=_over(RowNumber()),
        bucket=_BucketOf("taken_at", bucket),
        bucket_after=_over(Lead(_BucketOf("taken_at", bucket))),
        run_before=_over(Lag("run")),
        run_after=_over(Lead("run")),
        engine_after=_over(Lead("engine")),
    )
    begins = Q(run_before=None) | ~Q(run_before=F("run"))
    ends = (
        Q(run_after=None)
        | ~Q(run_after=F("run"))
        | ~Q(bucket_after=F("bucket"))
        | ~Q(engine_after=F("engine"))
    )
    return places.filter(begins | ends).order_by("agent", "taken_at", "id")


def _over(function: Func) -> Window:
    return Window(function, partition_by="agent", order_by=("taken_at", "id"))


class _BucketOf(Func):
    """The number of the bucket that a moment is in, from 0 in 1970."""

    output_field = BigIntegerField()

    def __init__(self, moment: str, bucket: timedelta) -> None:
        super().__init__(moment)
        self.extra["seconds"] = int(bucket.total_seconds())

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any
    ) -> tuple[str, Any]:
        """Seconds since 1970, with their fraction."""
        template = "FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / %(seconds)s)::bigint"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any
    ) -> tuple[str, Any]:
        """Without the fraction of a second, which strftime would round."""
        seconds = "CAST(strftime('%%%%s', substr(%(expressions)s, 1, 19)) AS INTEGER)"
        return self.as_sql(compiler, connection, template=f"{seconds} / %(seconds)s", **extra)
