"""Chunk statistics that the control loop, and operations, keep."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.reconcile.models import Watch
from controlplane.statistics.models import ChunkStatisticsSnapshot
from engine.contract import Role

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
