"""Chunks that a lookup promised to a request, kept until it retrieves them."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.storage.chunk import StoredChunk
from engine.storage.local_cpu import LocalCPUBackend
from engine.threads import start_if_possible

_LONGEST_WAIT_S = 1.0
"""A shorter interval that is set meanwhile must not wait for the end of a long one."""


class HoldsUsage(NamedTuple):
    """`requests` and `chunks` are held now. `expired` requests did not come for their
    chunks in time, and `refused` ones were not held because too much was."""

    requests: int
    chunks: int
    expired: int
    refused: int


class _Hold(NamedTuple):
    pinned: Sequence[StoredChunk]
    since: float


class Holds:
    """Pins by request id. A request that never comes for its chunks, because it was
    aborted or its engine died, loses them after a time. Thread-safe.

    Only so much may be held: a queue of waiting requests must not keep every new
    chunk out of memory. What is not held is only evicted earlier.
    """

    def __init__(
        self,
        local_cpu: LocalCPUBackend,
        *,
        most_chunks: int,
        timeout_s: Callable[[], float],
        interval_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timeout_s` and `interval_s` are read at every look for expired holds."""
        self._local_cpu = local_cpu
        self._most_chunks = most_chunks
        self._timeout_s = timeout_s
        self._interval_s = interval_s
        self._clock = clock
        self._holds: OrderedDict[str, _Hold] = OrderedDict()
        self._chunks = 0
        self._expired = 0
        self._refused = 0
        self._closed = False
        self._changed = threading.Condition()
        self._watch: threading.Thread | None = None

    @property
    def room(self) -> int:
        """How many more chunks may be held."""
        return self._most_chunks - self._chunks

    def hold(self, request_id: str, pinned: Sequence[StoredChunk]) -> None:
        """Take over the pins of these chunks. Those that were held for the request
        before are released."""
        with self._changed:
            released = self._take(request_id)
            if pinned and self._chunks + len(pinned) <= self._most_chunks and self._can_hold():
                self._holds[request_id] = _Hold(pinned, self._clock())
                self._chunks += len(pinned)
            elif pinned:
                self._refused += 1
                released = [*released, *pinned]
        self._local_cpu.release(released)

    def release(self, request_id: str) -> None:
        """Let go of what is held for the request, if anything is."""
        with self._changed:
            released = self._take(request_id)
        self._local_cpu.release(released)

    def usage(self) -> HoldsUsage:
        with self._changed:
            return HoldsUsage(len(self._holds), self._chunks, self._expired, self._refused)

    def release_expired(self) -> None:
        """Let go of what was held for longer than the timeout."""
        released: list[StoredChunk] = []
        with self._changed:
            latest = self._clock() - self._timeout_s()
            while self._holds:
                request_id, hold = next(iter(self._holds.items()))
                if hold.since > latest:
                    break
                released.extend(self._take(request_id))
                self._expired += 1
        self._local_cpu.release(released)

    def close(self) -> None:
        """Let go of everything and hold nothing more."""
        with self._changed:
            self._closed = True
            released = [
                chunk for request_id in list(self._holds) for chunk in self._take(request_id)
            ]
            self._changed.notify_all()
        self._local_cpu.release(released)

    def _take(self, request_id: str) -> Sequence[StoredChunk]:
        hold = self._holds.pop(request_id, None)
        if hold is None:
            return ()
        self._chunks -= len(hold.pinned)
        return hold.pinned

    def _can_hold(self) -> bool:
        """Whether there is a thread that looks for expired holds; without it they would
        stay for good. It lives while there are any."""
        if self._closed:
            return False
        if self._watch is None:
            watch = threading.Thread(target=self._run, name="holds", daemon=True)
            if not start_if_possible(watch):
                return False
            self._watch = watch
        return True

    def _run(self) -> None:
        looked = self._clock()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed, min(self._interval_s(), _LONGEST_WAIT_S)
                )
                if self._closed or not self._holds:
                    self._watch = None
                    return
            if self._clock() - looked >= self._interval_s():
                self.release_expired()
                looked = self._clock()
