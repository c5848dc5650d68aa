"""Statistics that the control loop, and operations, keep."""

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.reconcile.models import Watch
from controlplane.reconcile.sampling import sample
from controlplane.reconcile.sighting import Sighting
from controlplane.statistics.models import ChunkStatisticsSnapshot, TierStatisticsSnapshot
from engine.contract import Role
from tests.controlplane.statistics.tier_samples import DISK, MEMORY, tier

pytestmark = pytest.mark.django_db(transaction=True)


def counting(simulated, total=10, unique=5) -> None:
    simulated.statistics = {
        "is_collecting": True,
        "timestamp": time.time(),
        "total_requests": total,
        "total_chunks": total,
        "unique_chunks": unique,
        "duplicate_chunks": total - unique,
        "reuse_rate": (total - unique) / total if total else 0.0,
        "strategy": "memory_bloom_filter",
    }


def snapshots() -> list[tuple]:
    rows = ChunkStatisticsSnapshot.objects.order_by("id")
    return [(row.trigger, row.run, row.total_chunks) for row in rows]


def test_loop__scheduler_that_counts__is_sampled_once_an_interval(loop, fleet):
    _, simulated = fleet("scheduler", role=Role.SCHEDULER)
    fleet("worker")
    counting(simulated)

    loop.go_round()
    loop.go_round()
    assert snapshots() == [("interval", 1, 10)]

    Watch.objects.update(sampled_at=timezone.now() - timedelta(hours=1))
    counting(simulated, total=20)
    loop.go_round()
    assert snapshots()[1:] == [("interval", 1, 20)]
    assert ChunkStatisticsSnapshot.objects.latest("id").counters["stored_tokens"] == 0


def test_loop__restart__is_sampled_at_once_as_a_new_run(loop, fleet):
    _, simulated = fleet("scheduler", role=Role.SCHEDULER)
    counting(simulated)
    loop.go_round()
    simulated.restart()
    counting(simulated, total=2, unique=2)

    loop.go_round()

    assert snapshots() == [("interval", 1, 10), ("restart", 2, 2)]


def test_loop__nonsense__is_not_kept_and_stops_nothing(loop, fleet):
    _, simulated = fleet("scheduler", role=Role.SCHEDULER)
    simulated.statistics = {"is_collecting": "perhaps"}

    loop.go_round()

    assert snapshots() == []
    assert Watch.objects.get().polled_at is not None


def tier_snapshots() -> list[tuple]:
    rows = TierStatisticsSnapshot.objects.order_by("id")
    return [(row.agent, row.trigger, row.run, row.tiers[MEMORY]["hit_tokens"]) for row in rows]


def test_loop__worker_with_tiers__is_sampled_once_an_interval_without_another_call(loop, fleet):
    _, simulated = fleet("worker-0")
    simulated.storage = {MEMORY: tier(10, 4), DISK: tier(6, 3)}

    loop.go_round()
    asked = dict(simulated.asked)
    loop.go_round()
    assert tier_snapshots() == [("worker-0", "interval", 1, 4)]
    # A round asks for the status, once, whether anything is sampled in it or not.
    assert asked["GET /agent/status"] == 1
    assert simulated.asked["GET /agent/status"] == 2

    Watch.objects.update(sampled_at=timezone.now() - timedelta(hours=1))
    simulated.storage = {MEMORY: tier(20, 9), DISK: tier(11, 3)}
    loop.go_round()
    assert tier_snapshots()[1:] == [("worker-0", "interval", 1, 9)]
    assert TierStatisticsSnapshot.objects.latest("id").stored_tokens == 0
    assert snapshots() == []


def test_loop__restart__is_sampled_at_once_as_a_new_run_of_tiers(loop, fleet):
    _, simulated = fleet("worker-0")
    simulated.storage = {MEMORY: tier(10, 4)}
    loop.go_round()
    simulated.restart()
    simulated.storage = {MEMORY: tier(20, 11)}

    loop.go_round()

    assert tier_snapshots() == [("worker-0", "interval", 1, 4), ("worker-0", "restart", 2, 11)]


def test_loop__agent_that_counts_chunks_and_has_tiers__gets_both(loop, fleet):
    _, simulated = fleet("both", role=Role.SCHEDULER)
    simulated.storage = {MEMORY: tier(10, 4)}
    counting(simulated)
    loop.go_round()
    simulated.restart()
    simulated.storage = {MEMORY: tier(1, 0)}
    counting(simulated, total=2, unique=2)

    loop.go_round()

    assert snapshots() == [("interval", 1, 10), ("restart", 2, 2)]
    assert tier_snapshots() == [("both", "interval", 1, 4), ("both", "restart", 2, 0)]


def test_loop__agent_that_does_not_tell_or_talks_nonsense__keeps_nobody_from_being_kept(
    loop, fleet
):
    for name, storage in (
        ("older", {MEMORY: {"capacity_bytes": 1, "used_bytes": 1, "chunks": 1}}),
        ("odd", {MEMORY: tier(4, 10)}),
        ("right", {MEMORY: tier(10, 4)}),
    ):
        fleet(name)[1].storage = storage

    loop.go_round()

    assert tier_snapshots() == [("right", "interval", 1, 4)]
    assert Watch.objects.filter(polled_at=None).count() == 0


def test_sample__many_agents__takes_a_few_reads_and_two_writes_for_each(make_agent, monkeypatch):
    monkeypatch.setattr("controlplane.reconcile.sampling._ROWS_AT_ONCE", 10)
    sightings = []
    for number in range(20):
        agent = make_agent(f"worker-{number}", worker_id=number)
        now = timezone.now()
        status = {"boot_id": "boot", "storage": {MEMORY: tier(10, 4)}, "counters": {}}
        sightings.append(Sighting(Watch.objects.create(agent=agent), now, now, status))

    with CaptureQueriesContext(connection) as captured:
        sample(sightings)

    verbs = [query["sql"].split()[0] for query in captured]
    counts = {verb: verbs.count(verb) for verb in ("SELECT", "INSERT", "UPDATE")}
    # For each ten: the agents are locked, and the latest snapshots are read.
    assert counts == {"SELECT": 4, "INSERT": 20, "UPDATE": 20}
    assert len(tier_snapshots()) == 20


def test_reset__through_the_control_plane__keeps_what_was_counted_before(loop, fleet, operator_api):
    _, simulated = fleet("scheduler", role=Role.SCHEDULER)
    counting(simulated)

    def reset(method, path):
        if path == "/chunk_statistics/reset":
            counting(simulated, total=0, unique=0)

    simulated.before = reset
    operator_api.post("/agents/scheduler/chunk_statistics/start")
    counting(simulated, total=30)
    operator_api.post("/agents/scheduler/chunk_statistics/reset")
    counting(simulated, total=4, unique=2)
    operator_api.post("/agents/scheduler/chunk_statistics/stop")

    assert snapshots() == [
        ("start", 1, 10),
        ("stop", 1, 30),
        ("reset", 2, 0),
        ("stop", 2, 4),
    ]


def test_start__over_a_fleet__each_has_a_snapshot(loop, fleet, operator_api):
    for number in range(3):
        counting(fleet(f"scheduler-{number}", role=Role.SCHEDULER)[1])

    answer = operator_api.post(
        "/api/v1/operations/?wait=10",
        data={"action": "chunk_statistics.start", "selector": {"everybody": True}},
        format="json",
    )

    assert answer.json()["state"] == "succeeded"
    assert sorted(snapshots()) == [("start", 1, 10)] * 3
