"""Leaving a failing medium alone, and noticing when it is well again."""

import logging
import threading
from collections.abc import Callable
from enum import StrEnum

from engine.threads import start_if_possible

logger = logging.getLogger(__name__)


class BreakerState(StrEnum):
    """CLOSED: the medium is used. OPEN: it is not, only probed."""

    CLOSED = "closed"
    OPEN = "open"


class CircuitBreaker:
    """Opens after failures in a row; then a thread probes the medium at an interval
    and closes the breaker after the first probe that succeeds. No request waits
    for a probe. Thread-safe.

    The pattern is Nygard's, "Release It!"; probing from a thread replaces his
    half-open state, in which a request pays for the attempt.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], None],
        faults: tuple[type[Exception], ...],
        threshold: Callable[[], int],
        interval_s: Callable[[], float],
    ) -> None:
        """`probe` raises one of `faults` while the medium is unwell. Threshold and
        interval (seconds) are asked for anew each time."""
        self._name = name
        self._probe = probe
        self._faults = faults
        self._threshold = threshold
        self._interval_s = interval_s
        self._failures = 0
        self._state = BreakerState.CLOSED
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._suspended = False

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def is_open(self) -> bool:
        return self._state is BreakerState.OPEN

    def succeeded(self) -> None:
        """Note a success of the medium. One that began before the breaker opened
        does not close it."""
        with self._lock:
            self._failures = 0

    def failed(self, why: Exception) -> None:
        """Note a failure of the medium."""
        with self._lock:
            self._failures += 1
            if self._failures < self._threshold():
                return
        self.open(why)

    def open(self, why: Exception) -> None:
        """Leave the medium alone from now on, until a probe succeeds."""
        with self._lock:
            if self._state is BreakerState.OPEN or self._closing.is_set():
                return
            prober = threading.Thread(
                target=self._probe_until_well, name=f"probe-{self._name}", daemon=True
            )
            if not start_if_possible(prober):
                # Open without a probe, it would be open for good.
                return
            self._state = BreakerState.OPEN
        logger.warning("%s is left alone: %s", self._name, why)

    def suspend(self) -> None:
        """Do not probe until `resume`; the breaker stays as it is. A probe under way
        ends by itself."""
        self._suspended = True

    def resume(self) -> None:
        self._suspended = False

    def close(self) -> None:
        """Stop probing. A probe under way ends by itself."""
        self._closing.set()

    def _probe_until_well(self) -> None:
        while not self._closing.wait(self._interval_s()):
            if self._suspended:
                continue
            try:
                self._probe()
            except self._faults as error:
                logger.info("%s is still unwell: %s", self._name, error)
                continue
            except Exception:
                # A thread that dies would leave the medium alone for good.
                logger.exception("%s cannot be probed", self._name)
                continue
            with self._lock:
                self._state = BreakerState.CLOSED
                self._failures = 0
            logger.warning("%s is well again", self._name)
            return
