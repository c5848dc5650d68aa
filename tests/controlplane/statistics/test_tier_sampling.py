"""statistics.services.tier_sample and append: rows, runs, refusals, many agents at once."""

import threading

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.statistics.errors import InvalidSample
from controlplane.statistics.models import TierStatisticsSnapshot, Trigger
from controlplane.statistics.services import Asked, append, tells_of_tiers, tier_sample
from tests.controlplane.statistics.samples import NOON, asked, at
from tests.controlplane.statistics.tier_samples import (
    DISK,
    MEMORY,
    TOLD,
    TierReporter,
    record_tiers,
    tier,
    told,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def reporter(make_agent) -> TierReporter:
    return TierReporter(make_agent("worker-0", engine="engine-a"))


def test_tiers__answer_of_the_contract__is_kept(reporter):
    storage = {MEMORY: tier(10, 4), DISK: {**tier(6, 3), "breaker": "closed", "queued": 0}}
    status = {**TOLD, "storage": storage}

    (row,) = record_tiers(reporter.agent, status, asked(0), Trigger.RESTART)

    row = TierStatisticsSnapshot.objects.get(pk=row.pk)
    assert (row.agent, row.engine, row.taken_at) == ("worker-0", "engine-a", NOON)
    assert (row.trigger, row.boot_id, row.run, row.resolution_s) == ("restart", "boot-1", 1, 0)
    assert (row.requested_tokens, row.retrieved_tokens, row.stored_tokens) == (10, 7, 20)
    assert row.tiers == {MEMORY: tier(10, 4), DISK: tier(6, 3)}


def test_tiers__agent_says_nothing_of_tokens__they_are_unknown(reporter):
    row = reporter.says(0, {MEMORY: tier(10, 4)})

    assert (row.requested_tokens, row.retrieved_tokens, row.stored_tokens) == (None, None, None)


def older(name: str) -> dict[str, object]:
    """A backend of an agent that does not tell counts."""
    return {name: {"capacity_bytes": 1, "used_bytes": 1, "chunks": 1}}


@pytest.mark.parametrize(
    "status", [{}, {"storage": {}}, {"storage": None}, {"storage": [1]}, told(older(MEMORY))]
)
def test_tells_of_tiers__agent_that_does_not__is_a_gap(status):
    assert not tells_of_tiers(status)


def test_tiers__one_of_them_is_not_told__the_other_is_kept(reporter):
    row = reporter.says(0, {**older(DISK), MEMORY: tier(10, 4)})

    assert set(row.tiers) == {MEMORY}


def test_run__same_boot_and_growing_counts__stays(reporter):
    rows = [reporter.says_memory(seconds, 10 * seconds, seconds) for seconds in (1, 1, 2, 50)]

    assert [row.run for row in rows] == [1, 1, 1, 1]


def test_run__other_boot__grows(reporter):
    reporter.says_memory(0, 5, 5)
    reporter.boot_id = "boot-2"

    assert reporter.says_memory(1, 50, 50).run == 2
    assert reporter.says_memory(2, 50, 50).run == 2


@pytest.mark.parametrize(
    ("tiers", "counters"),
    [
        ({MEMORY: tier(9, 5), DISK: tier(5, 2)}, {"stored_tokens": 7}),
        ({MEMORY: tier(10, 4), DISK: tier(5, 2)}, {"stored_tokens": 7}),
        ({MEMORY: tier(10, 5)}, {"stored_tokens": 7}),
        ({MEMORY: tier(10, 5), DISK: tier(5, 2)}, {"stored_tokens": 6}),
        ({MEMORY: tier(10, 5), DISK: tier(5, 2)}, {}),
    ],
    ids=["looked up", "hit", "tier is gone", "tokens", "tokens are not told"],
)
def test_run__one_count_went_down__grows(reporter, tiers, counters):
    reporter.says(0, {MEMORY: tier(10, 5), DISK: tier(5, 2)}, stored_tokens=7)

    assert reporter.says(1, tiers, **counters).run == 2


def test_run__less_is_in_a_tier__stays(reporter):
    reporter.says(0, {MEMORY: tier(10, 5, chunks=9)})

    assert reporter.says(1, {MEMORY: tier(10, 5, chunks=0)}).run == 1


def test_run__another_tier_is_told__stays(reporter):
    reporter.says_memory(0, 10, 5)

    assert reporter.says(1, {MEMORY: tier(10, 5), DISK: tier(5, 2)}).run == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hit_tokens": 11}, f"storage.{MEMORY}.hit_tokens"),
        ({"hit_tokens": -1}, f"storage.{MEMORY}.hit_tokens"),
        ({"hit_tokens": "4"}, f"storage.{MEMORY}.hit_tokens"),
        ({"hit_tokens": True}, f"storage.{MEMORY}.hit_tokens"),
        ({"hit_tokens": None}, f"storage.{MEMORY}.hit_tokens"),
        ({"looked_up_tokens": 10.5}, f"storage.{MEMORY}.looked_up_tokens"),
        ({"looked_up_tokens": float("nan")}, f"storage.{MEMORY}.looked_up_tokens"),
        ({"looked_up_tokens": 1 << 63}, f"storage.{MEMORY}.looked_up_tokens"),
        ({"chunks": None}, f"storage.{MEMORY}.chunks"),
        ({"used_bytes": -1}, f"storage.{MEMORY}.used_bytes"),
        ({"capacity_bytes": []}, f"storage.{MEMORY}.capacity_bytes"),
    ],
)
def test_tiers__malformed__raises_naming_it_and_writes_nothing(reporter, change, field):
    status = told({MEMORY: {**tier(10, 4), **change}})

    with pytest.raises(InvalidSample) as caught:
        record_tiers(reporter.agent, status, asked(0))

    assert caught.value.field == field
    assert not TierStatisticsSnapshot.objects.exists()


@pytest.mark.parametrize(
    "status",
    [
        told({"a\x00b": tier(1, 1)}),
        told({"": tier(1, 1)}),
        told({"x" * 65: tier(1, 1)}),
        told({f"Backend{number}": tier(1, 1) for number in range(17)}),
        told({MEMORY: tier(1, 1)}, boot_id="b" * 65),
        told({MEMORY: tier(1, 1)}, boot_id=None),
        told({MEMORY: tier(1, 1)}, stored_tokens="many"),
        told({MEMORY: tier(1, 1)}, requested_tokens=-1),
        told({MEMORY: tier(1, 1)}, retrieved_tokens=None),
    ],
)
def test_tiers__rubbish_around_them__raises_and_writes_nothing(reporter, status):
    with pytest.raises(InvalidSample):
        record_tiers(reporter.agent, status, asked(0))

    assert not TierStatisticsSnapshot.objects.exists()


def test_append__taken_before_the_latest__is_not_written(reporter):
    reporter.says_memory(10, 5, 5)

    assert record_tiers(reporter.agent, TOLD, asked(9)) == []
    assert TierStatisticsSnapshot.objects.get().tiers[MEMORY]["hit_tokens"] == 5


def test_append__answers_passed_each_other__opens_no_run(reporter):
    reporter.says_memory(10, 1_005, 1_000)
    overlapping = Asked(at(9.5), at(10.1))

    assert record_tiers(reporter.agent, told({MEMORY: tier(1_000, 995)}), overlapping) == []
    assert reporter.says_memory(11, 1_006, 1_000).run == 1


def test_append__asked_after_the_latest_answer__lower_counts_are_a_new_run(reporter):
    reporter.says_memory(10, 1_005, 1_000)

    (row,) = record_tiers(reporter.agent, told({MEMORY: tier(3, 1)}), Asked(at(10), at(10.1)))

    assert row.run == 2


def test_append__agent_was_removed_meanwhile__is_left_out(reporter, make_agent):
    other = make_agent("worker-1", worker_id=1)
    samples = [
        tier_sample(agent, TOLD, Trigger.INTERVAL, asked(0)) for agent in (reporter.agent, other)
    ]
    type(other).objects.filter(pk=other.pk).delete()

    assert [row.agent for row in append(samples)] == ["worker-0"]


def test_append__many_agents__each_has_its_own_runs_in_a_few_statements(make_agent):
    reporters = [
        TierReporter(make_agent(f"worker-{number}", worker_id=number)) for number in range(12)
    ]
    for number, reporter in enumerate(reporters[:6]):
        reporter.says_memory(number, 100, 50)
    samples = [
        tier_sample(
            reporter.agent,
            told({MEMORY: tier(90 + 10 * (number % 2), 45)}),
            Trigger.INTERVAL,
            asked(20),
        )
        for number, reporter in enumerate(reporters)
    ]

    with CaptureQueriesContext(connection) as captured:
        written = append(samples)

    assert [row.run for row in written] == [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]
    reads = [query["sql"] for query in captured if query["sql"].startswith("SELECT")]
    assert len(reads) == 2, reads


@pytest.mark.django_db(transaction=True)
def test_append__writers_at_once__no_count_seems_to_go_down(reporter):
    writers = 6
    together = threading.Barrier(writers)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            together.wait(timeout=30)
            status = told({MEMORY: tier(10 * number, number)})
            record_tiers(reporter.agent, status, asked(number))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must show it
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    rows = list(TierStatisticsSnapshot.objects.order_by("id"))
    assert rows[-1].taken_at == at(writers - 1)
    assert {row.run for row in rows} == {1}
