"""statistics.services.tier_series_of_agent and tier_series_of_engine; what prune leaves of
them."""

from dataclasses import replace
from datetime import timedelta
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.fleet.services import AgentNotFound, EngineNotFound
from controlplane.statistics import retention
from controlplane.statistics.models import TierStatisticsSnapshot
from controlplane.statistics.services import (
    TierBucket,
    TierUse,
    prune,
    series_of_agent,
    tier_series_of_agent,
    tier_series_of_engine,
)
from engine.contract import InvalidParameter
from tests.controlplane.statistics.samples import NOON, Reporter, at
from tests.controlplane.statistics.tier_histories import live_through_tiers, tier_histories
from tests.controlplane.statistics.tier_samples import DISK, KIB, MEMORY, TierReporter, tier

pytestmark = pytest.mark.django_db
MINUTE = 60
KEPT_S = 600
EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def reporter(make_agent) -> TierReporter:
    return TierReporter(make_agent("worker-0", engine="engine-a"))


def minutes(first: int, last: int, agent: str = "worker-0") -> list[TierBucket]:
    """The minutes after noon from `first` to before `last`."""
    return tier_series_of_agent(
        agent, since=at(first * MINUTE), until=at(last * MINUTE), bucket_s=MINUTE
    )


def test_series__samples_of_one_run__buckets_hold_the_differences_and_the_last_levels(reporter):
    reporter.says(0, {MEMORY: tier(100, 60), DISK: tier(40, 0)}, requested_tokens=100)
    reporter.says(30, {MEMORY: tier(150, 80), DISK: tier(70, 30, 5)}, requested_tokens=150)
    reporter.says(59, {MEMORY: tier(200, 110, 3), DISK: tier(90, 40, 7)}, requested_tokens=200)
    reporter.says(60, {MEMORY: tier(200, 110, 4), DISK: tier(90, 40, 8)}, requested_tokens=200)

    first, second = minutes(0, 2)

    assert first == TierBucket(
        *(at(0), at(60), 3, 1, 1, 100, None, None),
        tiers={
            MEMORY: TierUse(100, 50, 3, 3 * KIB, 64 * KIB),
            DISK: TierUse(50, 40, 7, 7 * KIB, 64 * KIB),
        },
    )
    assert {name: use.hit_rate for name, use in (first.tiers or {}).items()} == {
        MEMORY: 0.5,
        DISK: 0.8,
    }
    assert second.requested_tokens == 0
    assert second.tiers == {
        MEMORY: TierUse(0, 0, 4, 4 * KIB, 64 * KIB),
        DISK: TierUse(0, 0, 8, 8 * KIB, 64 * KIB),
    }
    assert second.tiers[MEMORY].hit_rate is None


def test_series__bucket_without_a_sample__is_a_gap_and_the_later_one_has_it_all(reporter):
    reporter.says_memory(0, 10, 5)
    reporter.says_memory(2 * MINUTE, 30, 20)

    _, gap, later = minutes(0, 3)

    assert (gap.samples, gap.runs, gap.agents) == (0, 0, 0)
    assert (gap.tiers, gap.requested_tokens, gap.stored_tokens) == (None, None, None)
    assert later.tiers == {MEMORY: TierUse(20, 15, 1, KIB, 64 * KIB)}


def test_series__parts_of_a_second_before_a_bucket_ends__belong_to_it(reporter):
    for seconds, looked_up in ((0, 0), (59.9997, 7), (60, 9), (119.9997, 12)):
        reporter.says_memory(seconds, looked_up, 0)

    first, second = minutes(0, 2)

    assert (first.samples, first.tiers[MEMORY].looked_up_tokens) == (2, 7)
    assert (second.samples, second.tiers[MEMORY].looked_up_tokens) == (2, 5)


def test_series__restart__counts_from_zero_and_says_when(reporter):
    reporter.says_memory(0, 1_000, 500)
    reporter.boot_id = "boot-2"
    reporter.says_memory(70, 30, 10)

    first, second = minutes(0, 2)

    assert first.begun == ()
    assert second.begun == (at(70),)
    assert second.tiers == {MEMORY: TierUse(30, 10, 1, KIB, 64 * KIB)}


def test_series__restart_without_a_tier__what_that_was_asked_for_stays(reporter):
    reporter.says(0, {MEMORY: tier(0, 0), DISK: tier(0, 0)})
    reporter.says(10, {MEMORY: tier(8, 0), DISK: tier(8, 6, 5)})
    reporter.boot_id = "boot-2"
    reporter.says(20, {MEMORY: tier(2, 1)})

    (bucket,) = minutes(0, 1)

    assert bucket.tiers == {
        MEMORY: TierUse(10, 1, 1, KIB, 64 * KIB),
        DISK: TierUse(8, 6, 0, 0, 0),
    }


def test_series__engine__is_the_sum_over_its_agents(reporter, make_agent):
    other = TierReporter(make_agent("worker-1", worker_id=1, engine="engine-a"))
    stranger = TierReporter(make_agent("worker-2", engine="engine-b"))
    for each in (reporter, other, stranger):
        each.says(0, {MEMORY: tier(100, 100)}, stored_tokens=5)
    reporter.says(10, {MEMORY: tier(110, 105, 2), DISK: tier(5, 5, 4)}, stored_tokens=6)
    other.says(11, {MEMORY: tier(130, 100, 3, capacity=0)}, stored_tokens=8)
    stranger.says(12, {MEMORY: tier(900, 900, 60)}, stored_tokens=900)

    (bucket,) = tier_series_of_engine("engine-a", since=at(0), until=at(60), bucket_s=MINUTE)

    assert (bucket.samples, bucket.runs, bucket.agents) == (4, 2, 2)
    assert (bucket.stored_tokens, bucket.requested_tokens) == (4, None)
    assert bucket.tiers == {
        # One of the two has no limit, so they have none together.
        MEMORY: TierUse(40, 5, 5, 5 * KIB, 0),
        DISK: TierUse(5, 5, 4, 4 * KIB, 64 * KIB),
    }


def test_series__agent_moved_to_another_engine__counts_where_it_was(reporter, make_agent):
    reporter.says_memory(0, 100, 100)
    reporter.agent = make_agent("worker-0", engine="engine-b")
    reporter.says_memory(10, 101, 100)
    reporter.agent = make_agent("worker-0", engine="engine-a")
    reporter.says_memory(20, 103, 101)

    span = {"since": at(0), "until": at(60), "bucket_s": MINUTE}
    (in_a,), (in_b,) = (tier_series_of_engine(f"engine-{name}", **span) for name in "ab")
    assert (in_a.tiers[MEMORY].looked_up_tokens, in_a.tiers[MEMORY].hit_tokens) == (2, 1)
    assert (in_b.tiers[MEMORY].looked_up_tokens, in_b.tiers[MEMORY].hit_tokens) == (1, 0)


def test_series__agent_that_was_removed__is_still_told_in_both_series(reporter):
    reporter.says_memory(0, 1, 1)
    reporter.says_memory(1, 3, 2)
    reporter.agent.delete()

    (bucket,) = minutes(0, 1)
    assert bucket.tiers[MEMORY].looked_up_tokens == 2
    span = {"since": at(0), "until": at(60), "bucket_s": MINUTE}
    assert [bucket.samples for bucket in series_of_agent("worker-0", **span)] == [0]


def test_series__name_never_heard_of__is_404(reporter):
    span = {"since": at(0), "until": at(60), "bucket_s": MINUTE}

    with pytest.raises(AgentNotFound):
        tier_series_of_agent("worker-9", **span)
    with pytest.raises(EngineNotFound):
        tier_series_of_engine("engine-z", **span)
    assert [bucket.tiers for bucket in tier_series_of_engine("engine-a", **span)] == [None]


def test_series__bounds_that_cannot_be__is_400(reporter):
    with pytest.raises(InvalidParameter, match="'since'"):
        tier_series_of_agent("worker-0", since=at(1), until=at(0), bucket_s=MINUTE)


def test_prune__snapshots_of_both_kinds__go_by_the_same_rules(reporter, settings):
    settings.KVPLANE_STATISTICS_BUCKET_SECONDS = KEPT_S
    chunks = Reporter(reporter.agent)
    for seconds in (0, 10, 20):
        reporter.says_memory(seconds, seconds, 0)
        chunks.says(seconds, unique=seconds)

    done = prune(NOON + timedelta(days=9))

    assert (done.kept, done.thinned, done.expired) == (4, 2, 0)
    left = TierStatisticsSnapshot.objects.order_by("id")
    assert [(row.taken_at, row.resolution_s) for row in left] == [(at(0), KEPT_S), (at(20), KEPT_S)]
    assert prune(NOON + timedelta(days=370)).expired == 4


@EXAMPLES
@given(history=tier_histories(), bucket_s=st.integers(60, 100_000))
def test_series__any_history__sum_is_what_was_counted_whatever_the_buckets(
    reporter, history, bucket_s
):
    TierStatisticsSnapshot.objects.all().delete()
    took, counted = live_through_tiers(reporter, history)

    buckets = tier_series_of_agent("worker-0", since=NOON, until=at(took + 1), bucket_s=bucket_s)

    told = {
        (name, count): sum(
            getattr(bucket.tiers[name], count)
            for bucket in buckets
            if bucket.tiers and name in bucket.tiers
        )
        for name, count in counted
        if name
    }
    assert told == {key: number for key, number in counted.items() if key[0]}
    stored = sum(bucket.stored_tokens or 0 for bucket in buckets)
    assert stored == counted["", "stored_tokens"]
    assert sum(bucket.samples for bucket in buckets) == len(history)
    for bucket in buckets:
        assert (bucket.tiers is None) == (bucket.samples == 0)
        for use in (bucket.tiers or {}).values():
            assert 0 <= use.hit_tokens <= use.looked_up_tokens


def without_samples(buckets: list[TierBucket]) -> list[TierBucket]:
    """But for whether there are any, and when exactly runs began: of each run the last
    snapshot is what stays."""
    return [replace(bucket, samples=min(bucket.samples, 1), begun=()) for bucket in buckets]


@EXAMPLES
@given(
    first=tier_histories(),
    second=tier_histories(),
    multiple=st.integers(1, 12),
    begins_s=st.integers(-2_000, 40_000),
    batch=st.integers(1, 7),
)
def test_prune__any_history__series_in_multiples_of_the_kept_bucket_stay(
    make_agent, settings, first, second, multiple, begins_s, batch
):
    settings.KVPLANE_STATISTICS_BUCKET_SECONDS = KEPT_S
    TierStatisticsSnapshot.objects.all().delete()
    took = []
    for number, history in enumerate((first, second)):
        agent = make_agent(f"worker-{number}", worker_id=number, engine="engine-a")
        took.append(live_through_tiers(TierReporter(agent), history)[0])
    span = {
        "since": at(begins_s),
        "until": at(max(*took, begins_s) + 1),
        "bucket_s": multiple * KEPT_S,
    }

    def series() -> list[list[TierBucket]]:
        agents = [tier_series_of_agent(name, **span) for name in ("worker-0", "worker-1")]
        return [
            *map(without_samples, agents),
            without_samples(tier_series_of_engine("engine-a", **span)),
        ]

    before, rows = series(), TierStatisticsSnapshot.objects.count()

    with mock.patch.object(retention, "_BATCH", batch):
        done = prune(NOON + timedelta(days=9))

    assert series() == before
    assert done.kept + done.thinned == rows
