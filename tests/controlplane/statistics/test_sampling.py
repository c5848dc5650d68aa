"""statistics.services.record_sample: rows, runs, refusals, writers at once."""

import itertools
import threading
from datetime import timedelta

import pytest
from django.db import connection

from controlplane.statistics.errors import InvalidSample, OvertakenSample
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger
from controlplane.statistics.services import record_sample
from tests.controlplane.statistics.samples import NOON, Reporter, asked, at, counted

pytestmark = pytest.mark.django_db


@pytest.fixture
def reporter(make_agent) -> Reporter:
    return Reporter(make_agent("worker-0", engine="engine-a"))


def test_record_sample__answer_of_the_contract__is_kept_whole(reporter):
    status = counted(30, 10, requests=4, is_collecting=False)

    row = record_sample(
        reporter.agent, status, {"lookup_hit_tokens": 5.5}, "boot-1", Trigger.STOP, asked(0)
    )

    row = ChunkStatisticsSnapshot.objects.get(pk=row.pk)
    assert (row.agent, row.engine) == ("worker-0", "engine-a")
    assert (row.taken_at, row.reported_at) == (NOON, NOON.timestamp())
    assert (row.trigger, row.boot_id, row.run, row.enabled) == ("stop", "boot-1", 1, False)
    assert (row.total_requests, row.total_chunks) == (4, 40)
    assert (row.unique_chunks, row.duplicate_chunks, row.reuse_rate) == (30, 10, 0.25)
    assert (row.strategy, row.counters) == ("memory_bloom_filter", {"lookup_hit_tokens": 5.5})
    assert row.resolution_s == 0


def test_record_sample__lmcache_says_less__the_rest_is_derived(reporter):
    names = ("is_collecting", "total_chunks", "unique_chunks", "timestamp")
    status = {name: counted(30, 10)[name] for name in names}

    row = record_sample(reporter.agent, status, {}, "", Trigger.MANUAL, asked(0))

    assert (row.duplicate_chunks, row.reuse_rate) == (10, 0.25)
    assert (row.total_requests, row.strategy, row.boot_id) == (0, "", "")


def test_run__same_boot_and_growing_counts__stays(reporter):
    rows = [reporter.says(seconds, unique=seconds) for seconds in (1, 1, 2, 50)]

    assert [row.run for row in rows] == [1, 1, 1, 1]


def test_run__other_boot__grows(reporter):
    reporter.says(0, unique=5)
    reporter.boot_id = "boot-2"

    assert reporter.says(1, unique=50).run == 2
    assert reporter.says(2, unique=50).run == 2


def test_run__trigger_reset__grows_though_no_count_went_down(reporter):
    reporter.says(0, unique=0, requests=0)

    assert reporter.says(1, unique=0, requests=0, trigger=Trigger.RESET).run == 2


@pytest.mark.parametrize("trigger", [t for t in Trigger if t is not Trigger.RESET])
def test_run__other_trigger__stays(reporter, trigger):
    reporter.says(0, unique=5)

    assert reporter.says(1, unique=5, trigger=trigger).run == 1


@pytest.mark.parametrize(
    "lower",
    [
        {"unique": 9, "duplicate": 12},
        {"unique": 12, "duplicate": 9},
        {"unique": 10, "duplicate": 10, "requests": 0},
    ],
)
def test_run__one_count_went_down__grows(reporter, lower):
    reporter.says(0, unique=10, duplicate=10)

    assert reporter.says(1, **lower).run == 2


def test_run__other_agent__has_its_own(reporter, make_agent):
    other = Reporter(make_agent("worker-1", worker_id=1))
    reporter.says(0, unique=5)
    reporter.says(1, unique=1)

    assert other.says(2, unique=1).run == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"is_collecting": None}, "is_collecting"),
        ({"is_collecting": 1}, "is_collecting"),
        ({"total_chunks": None}, "total_chunks"),
        ({"total_chunks": "7"}, "total_chunks"),
        ({"total_chunks": True}, "total_chunks"),
        ({"total_chunks": 7.0}, "total_chunks"),
        ({"total_chunks": -1}, "total_chunks"),
        ({"total_chunks": 1 << 63}, "total_chunks"),
        ({"unique_chunks": -1}, "unique_chunks"),
        ({"unique_chunks": 41}, "unique_chunks"),
        ({"duplicate_chunks": None}, "duplicate_chunks"),
        ({"duplicate_chunks": 11}, "total_chunks"),
        ({"total_requests": -1}, "total_requests"),
        ({"reuse_rate": float("nan")}, "reuse_rate"),
        ({"reuse_rate": float("inf")}, "reuse_rate"),
        ({"reuse_rate": 1.01}, "reuse_rate"),
        ({"reuse_rate": "0.5"}, "reuse_rate"),
        ({"timestamp": None}, "timestamp"),
        ({"timestamp": float("nan")}, "timestamp"),
        ({"timestamp": 10**400}, "timestamp"),
        ({"strategy": 7}, "strategy"),
        ({"strategy": "x" * 65}, "strategy"),
        ({"strategy": "a\x00b"}, "strategy"),
        ({"strategy": "\ud800"}, "strategy"),
    ],
)
def test_record_sample__malformed_status__raises_naming_it_and_writes_nothing(
    reporter, change, field
):
    status = {**counted(30, 10), **change}

    with pytest.raises(InvalidSample, match=f"'{field}'") as caught:
        record_sample(reporter.agent, status, {}, "boot-1", Trigger.INTERVAL, asked(0))

    assert isinstance(caught.value, ValueError)
    assert caught.value.field == field
    assert not ChunkStatisticsSnapshot.objects.exists()


@pytest.mark.parametrize("missing", ["is_collecting", "total_chunks", "unique_chunks", "timestamp"])
def test_record_sample__field_missing__raises_naming_it(reporter, missing):
    status = counted(30, 10)
    del status[missing]

    with pytest.raises(InvalidSample) as caught:
        record_sample(reporter.agent, status, {}, "boot-1", Trigger.INTERVAL, asked(0))

    assert caught.value.field == missing


@pytest.mark.parametrize(
    ("counters", "boot_id"),
    [
        ({"hits": float("nan")}, "boot-1"),
        ({"hits": "many"}, "boot-1"),
        ({"hits": True}, "boot-1"),
        ({"hits": -1}, "boot-1"),
        ({"a\x00": 1}, "boot-1"),
        ({"": 1}, "boot-1"),
        ({f"c{n}": n for n in range(257)}, "boot-1"),
        ({}, "b" * 65),
        ({}, None),
    ],
)
def test_record_sample__malformed_counters_or_boot__raises_and_writes_nothing(
    reporter, counters, boot_id
):
    with pytest.raises(InvalidSample):
        record_sample(reporter.agent, counted(1), counters, boot_id, Trigger.INTERVAL, asked(0))

    assert not ChunkStatisticsSnapshot.objects.exists()


def test_record_sample__taken_before_the_latest__is_overtaken_and_not_written(reporter):
    reporter.says(10, unique=0, trigger=Trigger.RESET)

    with pytest.raises(OvertakenSample):
        reporter.says(9, unique=1_000)

    assert ChunkStatisticsSnapshot.objects.get().total_chunks == 0


def test_record_sample__answer_of_the_process_before__is_overtaken_by_that_of_the_new_one(
    reporter,
):
    reporter.boot_id = "boot-2"
    reporter.says(10, unique=1)
    reporter.boot_id = "boot-1"

    with pytest.raises(OvertakenSample):
        reporter.says(9, unique=1_000)

    reporter.boot_id = "boot-2"
    assert reporter.says(11, unique=1).run == 1


def test_record_sample__answers_passed_each_other__opens_no_run(reporter):
    reporter.says(10, unique=1_005)
    earlier = counted(1_000, timestamp=at(9.9).timestamp())

    with pytest.raises(OvertakenSample):
        record_sample(reporter.agent, earlier, {}, "boot-1", Trigger.MANUAL, asked(10.1))

    assert reporter.says(11, unique=1_006).run == 1


@pytest.mark.parametrize("seconds", [5, 30, 3_600])
def test_record_sample__agents_clock_was_set_back__is_written(reporter, seconds):
    reporter.says(10, unique=5)
    set_back = counted(6, timestamp=at(10 - seconds).timestamp())

    row = record_sample(reporter.agent, set_back, {}, "boot-1", Trigger.INTERVAL, asked(11))

    assert row.run == 1


@pytest.mark.django_db(transaction=True)
def test_record_sample__writers_at_once__each_reset_opens_a_run_of_its_own(reporter):
    writers = 8
    together = threading.Barrier(writers)
    failures: list[Exception] = []

    def work() -> None:
        try:
            together.wait(timeout=30)
            reporter.says(0, unique=0, trigger=Trigger.RESET)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must show it
            failures.append(error)
        finally:
            connection.close()

    _run([threading.Thread(target=work) for _ in range(writers)])

    assert failures == []
    runs = ChunkStatisticsSnapshot.objects.order_by("id").values_list("run", flat=True)
    assert list(runs) == list(range(1, writers + 1))


@pytest.mark.django_db(transaction=True)
def test_record_sample__two_writers_of_one_agent__no_count_seems_to_go_down(reporter):
    """Each reads the agent, and then writes when it comes to it."""
    samples = 15
    ticks = itertools.count(1)
    reading = threading.Lock()
    failures: list[Exception] = []
    overtaken: list[int] = []
    together = threading.Barrier(2)

    def work() -> None:
        try:
            for _ in range(samples):
                together.wait(timeout=30)
                with reading:
                    tick = next(ticks)
                try:
                    reporter.says(tick, unique=tick)
                except OvertakenSample:
                    overtaken.append(tick)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must show it
            failures.append(error)
        finally:
            connection.close()

    _run([threading.Thread(target=work) for _ in range(2)])

    assert failures == []
    rows = list(ChunkStatisticsSnapshot.objects.order_by("id"))
    assert len(rows) + len(overtaken) == 2 * samples
    assert {row.run for row in rows} == {1}
    moments = [row.taken_at for row in rows]
    assert moments == sorted(moments)
    assert moments[-1] - NOON == timedelta(seconds=2 * samples)


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
