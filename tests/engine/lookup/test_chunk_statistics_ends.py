"""When counting stops by itself, by order, or because it fails, and how it goes on."""

import threading
from pathlib import Path

import pytest

from engine.lookup.statistics import ChunkStatistics, CountingFailed, make_counter
from tests.support.waiting import eventually

from .counting import WAIT, GatedCounter, Make, Settings, counted, prompt


class Clock:
    """Stands still until it is moved; in hours."""

    def __init__(self) -> None:
        self.hours = 0.0

    def __call__(self) -> float:
        return self.hours * 3_600.0


def test_statistics__stop__counts_what_was_queued_and_nothing_later(
    make: Make, gated: GatedCounter
) -> None:
    statistics = make(gated)
    statistics.offer(prompt("a", range(10)))
    statistics.offer(prompt("b", range(20)))
    statistics.stop()
    statistics.offer(prompt("c", range(30)))
    gated.gate.set()

    assert counted(statistics) == (2, 30, 20)
    status = statistics.status()
    assert (status["is_collecting"], status["exit_reason"]) == (False, None)


def test_statistics__start_again__continues_the_counts(make: Make) -> None:
    statistics = make()
    statistics.offer(prompt("a", range(10)))
    statistics.stop()
    statistics.start()
    statistics.offer(prompt("a", range(10)))
    statistics.offer(prompt("b", range(5, 15)))

    assert counted(statistics) == (2, 20, 15)


def test_statistics__start_while_collecting__has_no_effect(make: Make) -> None:
    clock = Clock()
    statistics = make(clock=clock, settings=Settings(1.0))
    started_at = statistics.status()["started_at"]
    clock.hours = 0.9
    statistics.start()
    clock.hours = 1.1

    eventually(lambda: not statistics.status()["is_collecting"])
    assert statistics.status()["started_at"] == started_at


def test_statistics__reset__drops_what_is_queued_and_being_counted_and_goes_on(
    make: Make, gated: GatedCounter
) -> None:
    statistics = make(gated)
    statistics.offer(prompt("a", range(10)))
    assert not statistics.flush(0.0)
    assert gated.begun.wait(WAIT)
    statistics.offer(prompt("b", range(10, 20)))

    statistics.reset()
    after = statistics.status()
    gated.gate.set()

    assert (after["total_requests"], after["is_collecting"]) == (0, True)
    assert counted(statistics) == (0, 0, 0)
    statistics.offer(prompt("a", range(10)))
    assert counted(statistics) == (1, 10, 10)


def test_statistics__reset_when_stopped__stays_stopped(make: Make) -> None:
    statistics = make()
    statistics.offer(prompt("a", range(10)))
    statistics.stop()
    assert counted(statistics) == (1, 10, 10)

    statistics.reset()

    assert counted(statistics) == (0, 0, 0)
    status = statistics.status()
    assert (status["is_collecting"], status["expected_error"]) == (False, 0.0)


def test_statistics__hours_passed_without_traffic__stop_with_the_reason(make: Make) -> None:
    clock = Clock()
    statistics = make(clock=clock, settings=Settings(0.25))
    clock.hours = 0.2
    statistics.offer(prompt("a", range(3)))
    assert counted(statistics) == (1, 3, 3)
    assert statistics.status()["is_collecting"]

    clock.hours = 0.25

    eventually(lambda: not statistics.status()["is_collecting"])
    assert statistics.status()["exit_reason"] == "timeout"
    statistics.offer(prompt("b", range(3)))
    assert counted(statistics) == (1, 3, 3)


def test_statistics__started_after_a_timeout__has_all_its_hours_again(make: Make) -> None:
    clock = Clock()
    statistics = make(clock=clock, settings=Settings(1.0))
    clock.hours = 1.0
    eventually(lambda: not statistics.status()["is_collecting"])

    statistics.start()
    clock.hours = 1.9
    statistics.offer(prompt("a", range(3)))

    assert counted(statistics) == (1, 3, 3)
    status = statistics.status()
    assert (status["is_collecting"], status["exit_reason"]) == (True, None)


def test_statistics__hours_set_while_collecting__count_from_the_start(make: Make) -> None:
    clock, settings = Clock(), Settings()
    statistics = make(clock=clock, settings=settings)
    clock.hours = 5.0
    statistics.offer(prompt("a", range(3)))
    assert counted(statistics) == (1, 3, 3)
    assert statistics.status()["is_collecting"]

    settings.chunk_statistics_auto_exit_timeout_hours = 4.0

    eventually(lambda: statistics.status()["exit_reason"] == "timeout")


def test_statistics__target_reached__stop_with_the_reason(make: Make) -> None:
    settings = Settings(0.0, 25)
    statistics = make(settings=settings)

    statistics.offer(prompt("a", range(20)))
    statistics.offer(prompt("b", range(20)))
    assert counted(statistics) == (2, 40, 20)
    assert statistics.status()["is_collecting"]
    statistics.offer(prompt("c", range(30)))
    assert counted(statistics) == (3, 70, 30)

    status = statistics.status()
    assert (status["is_collecting"], status["exit_reason"]) == (False, "target")
    statistics.start()
    eventually(lambda: statistics.status()["exit_reason"] == "target")
    settings.chunk_statistics_auto_exit_target_unique_chunks = 40
    statistics.start()
    statistics.offer(prompt("d", range(30, 35)))
    assert counted(statistics) == (4, 75, 35)
    assert statistics.status()["exit_reason"] is None


def test_statistics__file_cannot_be_made__stop_with_the_reason(make: Make, tmp_path: Path) -> None:
    directory = tmp_path / "taken"
    directory.write_text("")
    statistics = make(make_counter("file_hash", capacity=1, directory=directory))

    statistics.offer(prompt("a", range(3)))
    assert counted(statistics) == (0, 0, 0)

    status = statistics.status()
    assert status["is_collecting"] is False
    assert (status["exit_reason"] or "").startswith("failed: ")
    assert "taken" in (status["exit_reason"] or "")
    assert status["dropped_requests"] == 1
    directory.unlink()
    statistics.start()
    statistics.offer(prompt("a", range(3)))
    assert counted(statistics) == (1, 3, 3)
    assert statistics.status()["exit_reason"] is None


def test_statistics__counting_fails_later__keeps_the_counts_until_the_next_start(
    make: Make, gated: GatedCounter
) -> None:
    statistics = make(gated)
    gated.gate.set()
    statistics.offer(prompt("a", range(10)))
    assert counted(statistics) == (1, 10, 10)
    gated.failure = CountingFailed("the disk is full")
    statistics.offer(prompt("b", range(10)))

    assert counted(statistics) == (1, 10, 10)
    status = statistics.status()
    assert status["exit_reason"] == "failed: the disk is full"
    assert status["dropped_requests"] == 1
    gated.failure = None
    statistics.start()
    statistics.offer(prompt("c", range(10)))
    assert counted(statistics) == (1, 10, 10)


def test_statistics__reset_while_counting_fails__goes_on(make: Make, gated: GatedCounter) -> None:
    statistics = make(gated)
    gated.failure = CountingFailed("the disk is full")
    statistics.offer(prompt("a", range(10)))
    assert not statistics.flush(0.0)
    assert gated.begun.wait(WAIT)
    statistics.reset()
    gated.gate.set()
    assert statistics.flush(WAIT)
    gated.failure = None

    statistics.offer(prompt("b", range(10)))

    assert counted(statistics) == (1, 10, 10)
    assert statistics.status()["exit_reason"] is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_statistics__mistake_in_a_counter__ends_collecting_for_good(
    make: Make, gated: GatedCounter
) -> None:
    statistics = make(gated)
    gated.failure = ZeroDivisionError("a mistake")
    gated.gate.set()

    statistics.offer(prompt("a", range(10)))
    assert statistics.flush(WAIT)

    eventually(lambda: not statistics.status()["is_collecting"])
    assert (statistics.status()["exit_reason"] or "").startswith("failed: ")
    statistics.start()
    assert not statistics.status()["is_collecting"]


def test_statistics__close__drops_what_is_queued_and_closes_the_counter(
    gated: GatedCounter,
) -> None:
    statistics = ChunkStatistics(gated, Settings())
    statistics.start()
    statistics.offer(prompt("a", range(10)))
    assert not statistics.flush(0.0)
    assert gated.begun.wait(WAIT)
    statistics.offer(prompt("b", range(10)))
    threading.Timer(0.05, gated.gate.set).start()

    statistics.close()

    assert gated.closed.is_set()
    assert statistics.status()["dropped_requests"] == 1
    statistics.start()
    statistics.offer(prompt("c", range(10)))
    assert not statistics.status()["is_collecting"]
    statistics.close()
