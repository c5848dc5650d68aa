"""When a medium is left alone, and when it is used again."""

import threading

import pytest

from engine.storage import BreakerState, CircuitBreaker
from tests.support.waiting import eventually


class Unwell(Exception):
    """The medium's fault."""


class Medium:
    """Is well or not, and counts its probes and the pauses before them."""

    def __init__(self, threshold: int = 2) -> None:
        self.is_well = threading.Event()
        self.probes = 0
        self.pauses = 0
        self.breaker = CircuitBreaker(
            "medium", self.probe, (Unwell,), lambda: threshold, self.pause_s
        )

    def pause_s(self) -> float:
        self.pauses += 1
        return 0.005

    def probe(self) -> None:
        self.probes += 1
        if not self.is_well.is_set():
            raise Unwell


def test_breaker__failures_in_a_row__opens_and_closes_once_a_probe_succeeds() -> None:
    medium = Medium()
    medium.breaker.failed(Unwell())
    assert medium.breaker.state is BreakerState.CLOSED
    medium.breaker.failed(Unwell())
    assert medium.breaker.state is BreakerState.OPEN
    eventually(lambda: medium.probes >= 2)
    assert medium.breaker.is_open
    medium.is_well.set()
    eventually(lambda: not medium.breaker.is_open)
    medium.breaker.failed(Unwell())
    assert medium.breaker.state is BreakerState.CLOSED


def test_breaker__success_between_failures__stays_closed() -> None:
    medium = Medium()
    for _ in range(5):
        medium.breaker.failed(Unwell())
        medium.breaker.succeeded()
    assert medium.breaker.state is BreakerState.CLOSED
    assert medium.probes == 0


def test_breaker__late_success_while_open__does_not_close_it() -> None:
    medium = Medium(threshold=1)
    medium.breaker.failed(Unwell())
    medium.breaker.succeeded()
    assert medium.breaker.is_open
    medium.breaker.close()


def test_breaker__suspended__is_not_probed_until_resumed() -> None:
    medium = Medium(threshold=1)
    medium.breaker.suspend()
    medium.is_well.set()
    medium.breaker.failed(Unwell())
    eventually(lambda: medium.pauses >= 5)
    assert (medium.probes, medium.breaker.state) == (0, BreakerState.OPEN)
    medium.breaker.resume()
    eventually(lambda: not medium.breaker.is_open)


def test_breaker__opened_by_order__needs_no_failures_and_is_probed() -> None:
    medium = Medium(threshold=100)
    medium.breaker.open(Unwell())
    medium.breaker.open(Unwell())
    assert medium.breaker.is_open
    medium.is_well.set()
    eventually(lambda: not medium.breaker.is_open)


def test_breaker__closed_for_good__opens_no_more_and_probes_no_more() -> None:
    medium = Medium(threshold=1)
    medium.breaker.close()
    medium.breaker.failed(Unwell())
    assert medium.breaker.state is BreakerState.CLOSED
    assert medium.probes == 0


def test_breaker__probe_raises_what_it_should_not__is_probed_again() -> None:
    medium = Medium(threshold=1)
    raised: list[Exception] = [MemoryError(), RuntimeError("can't start new thread")]

    def probe() -> None:
        if raised:
            raise raised.pop()

    breaker = CircuitBreaker("medium", probe, (Unwell,), lambda: 1, medium.pause_s)
    breaker.failed(Unwell())
    eventually(lambda: not breaker.is_open)
    assert raised == []


def test_breaker__no_thread_can_be_had__stays_closed_rather_than_open_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    medium = Medium(threshold=1)
    medium.is_well.set()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", refuse)
        medium.breaker.failed(Unwell())
        assert not medium.breaker.is_open
    medium.breaker.failed(Unwell())
    assert medium.breaker.is_open
    eventually(lambda: not medium.breaker.is_open)
