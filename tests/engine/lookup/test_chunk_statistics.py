"""Chunk statistics: what is counted, when, and when it ends."""

import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.lookup import PENDING, Pending, Prompt
from engine.lookup.statistics import ChunkStatistics, make_counter
from engine.lookup.statistics_client import ChunkStatisticsLookupClient

from .counting import WAIT, GatedCounter, Make, Settings, counted, prompt

KEYS = [
    "is_collecting",
    "total_chunks",
    "unique_chunks",
    "timestamp",
    "auto_exit_enabled",
    "auto_exit_timeout_hours",
    "auto_exit_target_unique_chunks",
    "total_requests",
    "duplicate_chunks",
    "reuse_rate",
    "strategy",
    "expected_error",
    "dropped_requests",
    "queued_requests",
    "lookup_overhead_seconds",
    "counting_seconds",
    "memory_bytes",
    "started_at",
    "exit_reason",
]


@pytest.mark.parametrize("strategy", ["memory_bloom_filter", "file_hash"])
def test_statistics__prompts_with_common_chunks__counts_duplicates_within_and_across(
    make: Make, strategy: str, tmp_path: Path
) -> None:
    statistics = make(make_counter(strategy, capacity=100_000, directory=tmp_path))

    statistics.offer(prompt("a", range(100)))
    assert counted(statistics) == (1, 100, 100)
    statistics.offer(prompt("b", [*range(60), *range(200, 240)]))
    statistics.offer(prompt("c", range(200, 250)))
    statistics.offer(prompt("d", [1_000, 1_000, 1_001, 1_000]))
    assert counted(statistics) == (4, 254, 152)

    status = statistics.status()
    assert status["duplicate_chunks"] == 102
    assert status["reuse_rate"] == pytest.approx(102 / 254)
    assert status["strategy"] == strategy
    assert status["memory_bytes"] > 0
    assert status["counting_seconds"] > 0
    assert 0 < status["lookup_overhead_seconds"] < 1
    assert statistics.overhead().handovers == 4


def test_statistics__prompt_larger_than_a_batch__is_counted_whole(make: Make) -> None:
    statistics = make()

    statistics.offer(prompt("a", range(10_000)))
    statistics.offer(prompt("b", []))

    requests, chunks, unique = counted(statistics)
    assert (requests, chunks) == (2, 10_000)
    assert unique == pytest.approx(10_000, rel=0.001)


def test_statistics__status__has_the_documented_keys_in_their_order(make: Make) -> None:
    began = time.time()
    statistics = make(settings=Settings(1.5, 7))

    status = statistics.status()

    assert list(status) == KEYS
    assert began <= status["timestamp"] <= time.time()
    assert began <= (status["started_at"] or 0) <= status["timestamp"]
    assert status["auto_exit_enabled"] is True
    assert status["auto_exit_timeout_hours"] == 1.5
    assert status["auto_exit_target_unique_chunks"] == 7


def test_statistics__never_started__collects_nothing() -> None:
    statistics = ChunkStatistics(make_counter("memory_bloom_filter", capacity=1_000), Settings())

    statistics.offer(prompt("a", range(5)))

    assert counted(statistics) == (0, 0, 0)
    status = statistics.status()
    assert (status["is_collecting"], status["started_at"]) == (False, None)
    assert (status["reuse_rate"], status["auto_exit_enabled"]) == (0.0, False)
    assert status["lookup_overhead_seconds"] == 0
    statistics.close()


def test_statistics__same_request_again__is_counted_once(make: Make) -> None:
    statistics = make()

    for _ in range(3):
        statistics.offer(prompt("a", range(10)))
        statistics.offer(prompt("b", range(10)))
    assert counted(statistics) == (2, 20, 10)
    statistics.offer(prompt("a", range(10)))

    assert counted(statistics) == (2, 20, 10)


def test_statistics__more_requests_than_are_remembered__forgets_the_one_not_seen_longest(
    make: Make,
) -> None:
    statistics = make(max_seen_requests=2)

    for request_id in ("a", "b", "a", "c"):
        statistics.offer(prompt(request_id, [1]))
    assert counted(statistics)[0] == 3
    statistics.offer(prompt("a", [1]))
    assert counted(statistics)[0] == 3
    statistics.offer(prompt("b", [1]))
    assert counted(statistics)[0] == 4


def test_statistics__endless_requests__take_bounded_memory(make: Make) -> None:
    statistics = make(max_seen_requests=500)

    def offer(numbers: range) -> int:
        for number in numbers:
            statistics.offer(prompt("x" * 1_000 + str(number), []))
        assert statistics.flush(WAIT)
        return statistics.status()["memory_bytes"]

    first, second = offer(range(1_000)), offer(range(1_000, 3_000))

    assert first == second


@pytest.mark.parametrize("limits", [(2, 1_000), (1_000, 20)], ids=["prompts", "chunks"])
def test_statistics__queue_full__drops_and_a_later_lookup_is_counted(
    make: Make, gated: GatedCounter, limits: tuple[int, int]
) -> None:
    statistics = make(gated, max_queued_prompts=limits[0], max_queued_chunks=limits[1])
    statistics.offer(prompt("counting", range(10)))
    assert not statistics.flush(0.0)
    assert gated.begun.wait(WAIT)

    for request_id in ("b", "c", "dropped", "dropped"):
        statistics.offer(prompt(request_id, range(10)))
    status = statistics.status()
    assert status["dropped_requests"] == 2
    assert status["queued_requests"] == 3
    gated.gate.set()
    assert counted(statistics) == (3, 30, 10)
    statistics.offer(prompt("dropped", range(10)))

    assert counted(statistics) == (4, 40, 10)
    assert statistics.status()["queued_requests"] == 0


def test_statistics__while_a_batch_is_counted__nobody_waits(
    make: Make, gated: GatedCounter
) -> None:
    statistics = make(gated)
    statistics.offer(prompt("a", range(10)))
    assert not statistics.flush(0.0)
    assert gated.begun.wait(WAIT)

    # Each of these would hang: the gate is shut.
    statistics.offer(prompt("b", range(10)))
    status = statistics.status()
    statistics.stop()
    statistics.start()

    assert (status["total_chunks"], status["queued_requests"]) == (0, 2)
    gated.gate.set()
    assert counted(statistics) == (2, 20, 10)


def test_statistics__eight_threads__counts_always_add_up(make: Make) -> None:
    statistics = make(max_queued_prompts=64)
    finished = threading.Event()
    wrong: list[object] = []

    def offer(thread: int) -> None:
        for number in range(400):
            first = number * 3
            statistics.offer(prompt(f"{thread}-{number}", range(first, first + 7)))

    def disturb() -> None:
        chooser = random.Random(1)
        while not finished.is_set():
            chooser.choice([statistics.start, statistics.stop, statistics.reset])()
            statistics.flush(0.001)

    def watch() -> None:
        while not finished.is_set():
            status = statistics.status()
            adds_up = status["unique_chunks"] + status["duplicate_chunks"] == status["total_chunks"]
            # Whole requests only: nobody sees half a batch.
            whole = status["total_chunks"] == 7 * status["total_requests"]
            if not (adds_up and whole and 0 <= status["unique_chunks"] <= status["total_chunks"]):
                wrong.append(status)

    offering = [threading.Thread(target=offer, args=(number,)) for number in range(8)]
    beside = [threading.Thread(target=disturb), threading.Thread(target=watch)]
    for thread in offering + beside:
        thread.start()
    for thread in offering:
        thread.join(WAIT)
    finished.set()
    for thread in beside:
        thread.join(WAIT)

    assert not wrong
    statistics.reset()
    statistics.start()
    statistics.offer(prompt("last", range(7)))
    assert counted(statistics) == (1, 7, 7)


def test_statistics__eight_threads_undisturbed__every_request_is_counted_once(make: Make) -> None:
    statistics = make(max_queued_prompts=10_000)

    def offer() -> None:
        for number in range(200):
            statistics.offer(prompt(f"request-{number}", range(number, number + 3)))

    threads = [threading.Thread(target=offer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)

    assert counted(statistics) == (200, 600, 202)


class Answering:
    """A lookup client with the answers that it is given."""

    def __init__(self, answers: Sequence[int | Pending]) -> None:
        self._answers = list(answers)
        self.forgotten: list[str] = []
        self.is_closed = False

    def lookup(self, prompt: Prompt) -> int | Pending:
        return self._answers.pop(0)

    def forget(self, request_id: str) -> None:
        self.forgotten.append(request_id)

    def describe(self) -> str:
        return "Answering"

    def close(self) -> None:
        self.is_closed = True


def test_statistics_client__answers__are_passed_on_and_counted_once_known(make: Make) -> None:
    statistics = make()
    inner = Answering([PENDING, PENDING, 32, 32])
    client = ChunkStatisticsLookupClient(inner, statistics)
    asked = prompt("a", range(4))

    assert [client.lookup(asked), client.lookup(asked)] == [PENDING, PENDING]
    assert counted(statistics) == (0, 0, 0)
    assert [client.lookup(asked), client.lookup(asked)] == [32, 32]
    assert counted(statistics) == (1, 4, 4)
    client.forget("a")
    assert inner.forgotten == ["a"]
    assert client.describe() == "ChunkStatisticsLookupClient(Answering)"


def test_statistics_client__recreated__goes_on_with_the_same_counts(make: Make) -> None:
    statistics = make()
    first = Answering([16])
    client = ChunkStatisticsLookupClient(first, statistics)
    client.lookup(prompt("a", range(4)))
    client.close()
    ChunkStatisticsLookupClient(Answering([16]), statistics).lookup(prompt("b", range(5)))

    assert first.is_closed
    assert counted(statistics) == (2, 9, 5)
