"""statistics.services.series_of_agent and series_of_engine."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.fleet.services import AgentNotFound, EngineNotFound
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger
from controlplane.statistics.services import Bucket, series_of_agent, series_of_engine
from engine.contract import InvalidParameter
from tests.controlplane.statistics.histories import Before, histories, live_through
from tests.controlplane.statistics.samples import NOON, Reporter, at

pytestmark = pytest.mark.django_db
MINUTE = 60
EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
COUNTS = ("total_requests", "total_chunks", "unique_chunks", "duplicate_chunks")


@pytest.fixture
def reporter(make_agent) -> Reporter:
    return Reporter(make_agent("worker-0", engine="engine-a"))


def minutes(first: int, last: int) -> list[Bucket]:
    """The minutes after noon from `first` to before `last` of worker-0."""
    return series_of_agent(
        "worker-0", since=at(first * MINUTE), until=at(last * MINUTE), bucket_s=MINUTE
    )


def totals(buckets: list[Bucket]) -> list[int | None]:
    return [bucket.total_chunks for bucket in buckets]


def test_series__samples_of_one_run__buckets_hold_the_differences(reporter):
    reporter.says(0, unique=10, duplicate=10, requests=2)
    reporter.says(30, unique=11, duplicate=13, requests=3)
    reporter.says(59, unique=11, duplicate=15, requests=4)
    reporter.says(60, unique=15, duplicate=15, requests=6)

    first, second = minutes(0, 2)

    assert first == Bucket(at(0), at(60), 3, 1, 2, 6, 1, 5, 5 / 6)
    assert second == Bucket(at(60), at(120), 1, 1, 2, 4, 4, 0, 0.0)


def test_series__nothing_counted__rate_is_unknown(reporter):
    reporter.says(0, unique=10)
    reporter.says(30, unique=10)

    (bucket,) = minutes(0, 1)

    assert (bucket.samples, bucket.total_chunks, bucket.reuse_rate) == (2, 0, None)


def test_series__first_sample_known__counts_nothing(reporter):
    reporter.says(0, unique=1_000)

    assert totals(minutes(0, 1)) == [0]


def test_series__sample_before_the_first_bucket__is_counted_from(reporter):
    reporter.says(-1, unique=1_000)
    reporter.says(0, unique=1_007)

    assert totals(minutes(0, 1)) == [7]


def test_series__restart__counts_from_zero(reporter):
    reporter.says(0, unique=1_000)
    reporter.says(30, unique=1_001)
    reporter.boot_id = "boot-2"
    reporter.says(70, unique=1_500)
    reporter.says(80, unique=1_503)

    first, second = minutes(0, 2)

    assert (first.total_chunks, first.runs) == (1, 1)
    assert (second.total_chunks, second.runs) == (1_503, 1)


def test_series__reset_within_a_bucket__both_runs_count(reporter):
    reporter.says(0, unique=1_000)
    reporter.says(10, unique=1_004)
    reporter.says(11, unique=0, requests=0, trigger=Trigger.RESET)
    reporter.says(20, unique=6)

    (bucket,) = minutes(0, 1)

    assert (bucket.total_chunks, bucket.runs, bucket.samples) == (10, 2, 4)


def test_series__count_went_down__counts_from_zero(reporter):
    reporter.says(0, unique=1_000)
    reporter.says(10, unique=3)

    assert totals(minutes(0, 1)) == [3]


def test_series__bucket_without_a_sample__is_a_gap_and_the_later_one_has_it_all(reporter):
    reporter.says(0, unique=1)
    reporter.says(3 * MINUTE, unique=10)

    _, second, third, fourth = minutes(0, 4)

    for gap in (second, third):
        assert (gap.samples, gap.runs) == (0, 0)
        assert {getattr(gap, name) for name in (*COUNTS, "reuse_rate")} == {None}
    assert fourth.total_chunks == 9


def test_series__bounds_within_buckets__are_widened_to_whole_ones(reporter):
    reporter.says(0, unique=1)
    reporter.says(119, unique=2)

    buckets = series_of_agent("worker-0", since=at(59), until=at(61), bucket_s=MINUTE)

    assert [(bucket.start, bucket.end) for bucket in buckets] == [
        (at(0), at(60)),
        (at(60), at(120)),
    ]
    assert totals(buckets) == [0, 1]


def test_series__engine__is_the_sum_over_its_agents(reporter, make_agent):
    other = Reporter(make_agent("worker-1", worker_id=1, engine="engine-a"))
    stranger = Reporter(make_agent("worker-2", engine="engine-b"))
    for each in (reporter, other, stranger):
        each.says(0, unique=100)
    reporter.says(10, unique=101)
    other.says(11, unique=100, duplicate=3)
    stranger.says(12, unique=200)

    (bucket,) = series_of_engine("engine-a", since=at(0), until=at(60), bucket_s=MINUTE)

    assert (bucket.samples, bucket.runs, bucket.total_chunks) == (4, 2, 4)
    assert bucket.reuse_rate == 0.75


def test_series__agent_moved_to_another_engine__counts_where_it_was(reporter, make_agent):
    reporter.says(0, unique=100)
    reporter.agent = make_agent("worker-0", engine="engine-b")
    reporter.says(10, unique=101)
    reporter.agent = make_agent("worker-0", engine="engine-a")
    reporter.says(20, unique=103)

    span = {"since": at(0), "until": at(60), "bucket_s": MINUTE}
    assert totals(series_of_engine("engine-a", **span)) == [2]
    assert totals(series_of_engine("engine-b", **span)) == [1]
    assert totals(series_of_agent("worker-0", **span)) == [3]


@pytest.mark.parametrize("agents", [1, 30])
def test_series__engine_of_any_number_of_agents__three_queries(
    reporter, make_agent, django_assert_num_queries, agents
):
    others = [Reporter(make_agent(f"other-{n}", worker_id=n + 1)) for n in range(agents - 1)]
    for number, each in enumerate((reporter, *others)):
        each.says(-90, unique=50)
        each.says(-80, unique=100)
        each.says(0, unique=103 + number)
        each.says(50, unique=106 + number)

    # Whose snapshots there are, the last ones before, and those inside.
    with django_assert_num_queries(3):
        (bucket,) = series_of_engine("engine-a", since=at(0), until=at(60), bucket_s=MINUTE)

    assert (bucket.samples, bucket.runs) == (2 * agents, agents)
    assert bucket.total_chunks == sum(6 + number for number in range(agents))


@EXAMPLES
@given(
    lives=st.lists(histories(*Before), min_size=1, max_size=3),
    bucket_s=st.integers(60, 10_000),
    begins_s=st.integers(-5_000, 5_000),
)
def test_series__any_histories__engine_is_the_sum_over_its_agents(
    make_agent, lives, bucket_s, begins_s
):
    ChunkStatisticsSnapshot.objects.all().delete()
    reporters = [Reporter(make_agent(f"worker-{n}", worker_id=n)) for n in range(len(lives))]
    took = max(live_through(each, history) for each, history in zip(reporters, lives, strict=True))
    since = at(begins_s)
    span = {
        "since": since,
        "until": max(at(took), since + timedelta(seconds=1)),
        "bucket_s": bucket_s,
    }

    of_each = [series_of_agent(each.agent.name, **span) for each in reporters]

    for bucket, *parts in zip(series_of_engine("engine-a", **span), *of_each, strict=True):
        for name in ("samples", "runs"):
            assert getattr(bucket, name) == sum(getattr(part, name) for part in parts)
        for name in COUNTS:
            told = [getattr(part, name) for part in parts if part.samples]
            assert getattr(bucket, name) == (sum(told) if told else None)
        assert bucket.begun == tuple(sorted(moment for part in parts for moment in part.begun))


def test_series__agent_that_was_removed__is_still_told(reporter):
    reporter.says(0, unique=1)
    reporter.says(1, unique=3)
    reporter.agent.delete()

    assert totals(minutes(0, 1)) == [2]
    assert totals(minutes(5, 6)) == [None]


def test_series__name_never_heard_of__is_404(reporter):
    span = {"since": at(0), "until": at(60), "bucket_s": MINUTE}

    with pytest.raises(AgentNotFound):
        series_of_agent("worker-9", **span)
    with pytest.raises(EngineNotFound):
        series_of_engine("engine-z", **span)
    assert totals(series_of_agent("worker-0", **span)) == [None]
    assert totals(series_of_engine("engine-a", **span)) == [None]


@pytest.mark.parametrize(
    ("since", "until", "bucket_s", "parameter"),
    [
        (at(0), at(0), 60, "since"),
        (at(1), at(0), 60, "since"),
        (datetime(1969, 12, 31, tzinfo=UTC), at(0), 86_400, "since"),
        (at(0), datetime(9998, 1, 2, tzinfo=UTC), 86_400, "until"),
        (at(0), at(60), 0, "bucket"),
        (at(0), at(60), -60, "bucket"),
        (at(0), at(60), 31 * 86_400 + 1, "bucket"),
        (at(0), at(2_001), 1, "bucket"),
    ],
)
def test_series__bounds_that_cannot_be__is_400_naming_the_parameter(
    reporter, since, until, bucket_s, parameter
):
    with pytest.raises(InvalidParameter, match=f"'{parameter}'") as caught:
        series_of_agent("worker-0", since=since, until=until, bucket_s=bucket_s)

    assert (caught.value.status, caught.value.parameter) == (400, parameter)


def test_series__most_buckets_there_may_be__are_given(reporter):
    buckets = series_of_agent("worker-0", since=at(0), until=at(2_000), bucket_s=1)

    assert len(buckets) == 2_000


@EXAMPLES
@given(
    history=histories(Before.NOTHING, Before.RESTART, Before.RESET),
    bucket_s=st.integers(60, 100_000),
)
def test_series__any_history__sum_is_what_was_counted(reporter, history, bucket_s):
    ChunkStatisticsSnapshot.objects.all().delete()
    took = live_through(reporter, history)

    buckets = series_of_agent("worker-0", since=NOON, until=at(took + 1), bucket_s=bucket_s)

    told = [sum(getattr(bucket, name) or 0 for bucket in buckets) for name in COUNTS]
    known = history[1:]
    requests, unique, duplicate = (
        sum(getattr(event, name) for event in known) for name in ("requests", "unique", "duplicate")
    )
    assert told == [requests, unique + duplicate, unique, duplicate]
    assert sum(bucket.samples for bucket in buckets) == len(history)


@EXAMPLES
@given(
    history=histories(*Before),
    bucket_s=st.integers(60, 10_000),
    begins_s=st.integers(-5_000, 5_000),
)
def test_series__any_history_and_window__nothing_is_negative(reporter, history, bucket_s, begins_s):
    ChunkStatisticsSnapshot.objects.all().delete()
    took = live_through(reporter, history)
    since = at(begins_s)
    until = max(at(took), since + timedelta(seconds=1))

    for bucket in series_of_agent("worker-0", since=since, until=until, bucket_s=bucket_s):
        assert bucket.end - bucket.start == timedelta(seconds=bucket_s)
        assert all((getattr(bucket, name) or 0) >= 0 for name in COUNTS)
        assert bucket.reuse_rate is None or 0 <= bucket.reuse_rate <= 1
        assert bucket.runs <= bucket.samples
        assert (bucket.total_chunks is None) == (bucket.samples == 0)
