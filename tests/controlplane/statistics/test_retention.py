"""statistics.services.prune: what stays, and that the series stay with it."""

from dataclasses import astuple, replace
from datetime import datetime, timedelta
from unittest import mock

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.statistics import retention
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger
from controlplane.statistics.services import (
    Bucket,
    Pruned,
    prune,
    series_of_agent,
    series_of_engine,
)
from tests.controlplane.statistics.histories import Before, histories, live_through
from tests.controlplane.statistics.samples import NOON, Reporter, at

pytestmark = pytest.mark.django_db
KEPT_S = 600
A_WEEK_LATER = NOON + timedelta(days=9)


@pytest.fixture(autouse=True)
def _retention(settings) -> None:
    settings.KVPLANE_STATISTICS_RAW_DAYS = 7
    settings.KVPLANE_STATISTICS_BUCKET_SECONDS = KEPT_S
    settings.KVPLANE_STATISTICS_KEEP_DAYS = 365


@pytest.fixture
def reporter(make_agent) -> Reporter:
    return Reporter(make_agent("worker-0", engine="engine-a"))


def kept() -> list[tuple[datetime, int]]:
    """When the rows that there are were taken, and what they stand for."""
    rows = ChunkStatisticsSnapshot.objects.order_by("taken_at", "id")
    return list(rows.values_list("taken_at", "resolution_s"))


def test_prune__old_rows__the_last_of_each_bucket_and_the_very_first_stay(reporter):
    for seconds in (0, 10, 599, 600, 700, 1_500):
        reporter.says(seconds, unique=seconds)

    assert prune(A_WEEK_LATER) == Pruned(kept=4, thinned=2, expired=0)
    assert kept() == [(at(seconds), KEPT_S) for seconds in (0, 599, 700, 1_500)]


def test_prune__several_runs_in_a_bucket__the_last_row_of_each_stays(reporter):
    reporter.says(0, unique=5)
    reporter.says(10, unique=6)
    reporter.says(11, unique=0, requests=0, trigger=Trigger.RESET)
    reporter.says(12, unique=1)
    reporter.boot_id = "boot-2"
    reporter.says(13, unique=8)

    prune(A_WEEK_LATER)

    assert [taken_at for taken_at, _ in kept()] == [at(0), at(10), at(12), at(13)]


def test_prune__agent_moved_between_engines__the_series_of_both_stay(reporter, make_agent):
    for seconds, engine in ((0, "a"), (10, "a"), (20, "b"), (30, "a"), (40, "a")):
        reporter.agent = make_agent("worker-0", engine=f"engine-{engine}")
        reporter.says(seconds, unique=seconds)
    span = {"since": at(0), "until": at(KEPT_S), "bucket_s": KEPT_S}

    assert prune(A_WEEK_LATER) == Pruned(kept=4, thinned=1)

    told = [series_of_engine(name, **span)[0].total_chunks for name in ("engine-a", "engine-b")]
    assert told == [30, 10]


def test_prune__rows_that_are_not_old__stay_as_they_are(reporter):
    reporter.says(0, unique=1)
    reporter.says(1, unique=2)

    assert prune(NOON + timedelta(days=7)) == Pruned()
    assert kept() == [(at(0), 0), (at(1), 0)]


def test_prune__bucket_that_is_old_in_part__waits_until_all_of_it_is(reporter):
    for seconds in (0, 10, 20):
        reporter.says(seconds, unique=seconds)

    assert prune(at(15) + timedelta(days=7)) == Pruned()
    assert prune(at(KEPT_S) + timedelta(days=7)) == Pruned(kept=2, thinned=1)


def test_prune__again__changes_nothing(reporter):
    for seconds in range(0, 3_000, 100):
        reporter.says(seconds, unique=seconds)
    prune(A_WEEK_LATER)
    before = kept()

    assert prune(A_WEEK_LATER) == Pruned()
    assert kept() == before


def test_prune__rows_beyond_their_days__are_deleted_of_whatever_kind(reporter):
    reporter.says(0, unique=1)
    reporter.says(10, unique=2)
    prune(A_WEEK_LATER)
    reporter.says(2 * 86_400, unique=3)

    done = prune(at(86_400) + timedelta(days=365))

    assert (done.expired, done.kept) == (2, 1)
    assert [taken_at for taken_at, _ in kept()] == [at(2 * 86_400)]


def test_prune__last_row_of_a_run__stays_until_its_days_are_over(reporter):
    reporter.says(0, unique=1_000)
    prune(at(0) + timedelta(days=365))
    reporter.says(364 * 86_400, unique=1_007)

    (bucket,) = series_of_agent(
        "worker-0", since=at(364 * 86_400), until=at(364 * 86_400 + 1), bucket_s=1
    )

    assert bucket.total_chunks == 7


def test_prune__rows_of_other_agents__do_not_mix(reporter, make_agent):
    other = Reporter(make_agent("worker-1", worker_id=1, engine="engine-a"))
    for seconds in (0, 10, 20, 30):
        (reporter if seconds in (0, 20) else other).says(seconds, unique=seconds)

    assert prune(A_WEEK_LATER).thinned == 0
    assert len(kept()) == 4


def test_prune__without_settings__keeps_a_week_raw_an_hour_each_and_a_year(settings):
    del settings.KVPLANE_STATISTICS_RAW_DAYS
    del settings.KVPLANE_STATISTICS_BUCKET_SECONDS
    del settings.KVPLANE_STATISTICS_KEEP_DAYS

    assert astuple(retention.configured_retention()) == (7, 3_600, 365)


def test_prune__many_rows__no_transaction_changes_more_than_a_batch(reporter):
    for seconds in range(25):
        reporter.says(seconds, unique=seconds)

    with mock.patch.object(retention, "_BATCH", 10), CaptureQueriesContext(connection) as captured:
        done = prune(A_WEEK_LATER)

    assert done == Pruned(kept=2, thinned=23)
    changing = [q["sql"] for q in captured if q["sql"].startswith(("DELETE", "UPDATE"))]
    named = [sql.count(",") + 1 for sql in changing if sql.startswith("DELETE")]
    assert len(named) == 3
    assert max(named) <= 10


def without_samples(buckets: list[Bucket]) -> list[Bucket]:
    """But for whether there are any, and when exactly runs began: of each run the last
    snapshot is what stays."""
    return [replace(bucket, samples=min(bucket.samples, 1), begun=()) for bucket in buckets]


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    first=histories(*Before),
    second=histories(*Before),
    moved_after=st.integers(0, 20),
    multiple=st.integers(1, 12),
    begins_s=st.integers(-2_000, 40_000),
    batch=st.integers(1, 7),
)
def test_prune__any_history__series_in_multiples_of_the_kept_bucket_stay(
    make_agent, first, second, moved_after, multiple, begins_s, batch
):
    ChunkStatisticsSnapshot.objects.all().delete()
    reporter = Reporter(make_agent("worker-0", engine="engine-a"))
    took = [live_through(reporter, first[:moved_after])] if first[:moved_after] else [0]
    other = Reporter(make_agent("worker-1", worker_id=1, engine="engine-a"))
    took.append(live_through(other, second))
    # What follows goes on with the counts at zero, in another engine and half of the time
    # with the same boot: the worst that a register can do.
    reporter.agent = make_agent("worker-0", engine="engine-b")
    for number, event in enumerate(first[moved_after:]):
        took[0] += event.after_s
        reporter.says(took[0], unique=event.unique, requests=number)
    span = {
        "since": at(begins_s),
        "until": at(max(*took, begins_s) + 1),
        "bucket_s": multiple * KEPT_S,
    }

    def told() -> list[list[Bucket]]:
        agents = [series_of_agent(name, **span) for name in ("worker-0", "worker-1")]
        engines = [series_of_engine(name, **span) for name in ("engine-a", "engine-b")]
        return [without_samples(buckets) for buckets in (*agents, *engines)]

    before, rows = told(), ChunkStatisticsSnapshot.objects.count()

    with mock.patch.object(retention, "_BATCH", batch):
        done = prune(A_WEEK_LATER)

    assert told() == before
    assert done.expired == 0
    assert done.kept + done.thinned == rows
    assert ChunkStatisticsSnapshot.objects.filter(resolution_s=KEPT_S).count() == done.kept
