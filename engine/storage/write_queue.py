"""Writing chunks in the background, without ever making a request wait."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from engine.storage.backend import Lease
from engine.storage.tally import Drop, Tally
from engine.threads import step_back
from engine.tokens import ChunkKey

logger = logging.getLogger(__name__)
_NICENESS = 10


class WriteQueue:
    """A bounded queue and the threads that empty it. Every lease that is offered is
    released here, written or dropped. Thread-safe."""

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Lease]], None],
        tally: Tally,
        *,
        max_chunks: int,
        threads: int,
        batch_size: int,
    ) -> None:
        """`write` gets up to `batch_size` leases at once, in a thread of this queue. It
        does not release them and counts its own faults; what it raises all the same
        is logged and counted as a drop."""
        self._write = write
        self._tally = tally
        self._max_chunks = max_chunks
        self._batch_size = batch_size
        self._waiting: deque[Lease] = deque()
        self._keys: set[ChunkKey] = set()
        """Of all chunks that wait or are being written."""
        self._writing: set[Lease] = set()
        self._discarded: set[Lease] = set()
        """Those of `_writing` that were taken before the last `discard`."""
        self._paused = False
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-writer-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Chunks that wait or are being written."""
        return len(self._waiting) + len(self._writing)

    def offer(self, lease: Lease) -> bool:
        """Queue a chunk; False if it was dropped because the queue is full, paused or
        closed. One whose key waits already counts as queued. Never waits."""
        with self._changed:
            if lease.key in self._keys:
                outcome: Drop | None = None
            else:
                outcome = self._refusal()
                if outcome is None:
                    self._keys.add(lease.key)
                    self._waiting.append(lease)
                    self._changed.notify_all()
                    return True
        lease.release()
        if outcome is not None:
            self._tally.dropped(outcome)
        return outcome is None

    def pause(self) -> None:
        """Drop what waits; from the return of this call on nothing is taken and no
        write begins. A write that has begun goes on."""
        with self._changed:
            self._paused = True
            dropped = self._take_waiting()
        self._drop(dropped, Drop.FROZEN)

    def resume(self) -> None:
        with self._changed:
            self._paused = False

    def discard(self) -> None:
        """Drop what waits. A write that has begun goes on; `was_discarded` tells it."""
        with self._changed:
            dropped = self._take_waiting()
            self._discarded |= self._writing
            # Offered again, they are new chunks.
            self._keys.clear()
        self._drop(dropped, Drop.CLEARED)

    def was_discarded(self, lease: Lease) -> bool:
        """Whether `discard` was called since that lease, which is being written, was
        offered."""
        with self._changed:
            return lease in self._discarded

    def wait_idle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until nothing waits and nothing is being
        written; whether that was reached."""
        deadline = time.monotonic() + timeout
        with self._changed:
            return self._changed.wait_for(
                lambda: self.depth == 0, max(0.0, deadline - time.monotonic())
            )

    def close(self, timeout: float) -> None:
        """Take no more, write what is queued for at most `timeout` seconds and drop the
        rest. The threads end with the writes that have begun."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        self.wait_idle(timeout)
        with self._changed:
            dropped = self._take_waiting()
        self._drop(dropped, Drop.CLOSED)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _refusal(self) -> Drop | None:
        if self._closed:
            return Drop.CLOSED
        if self._paused:
            return Drop.FROZEN
        if self.depth >= self._max_chunks:
            return Drop.QUEUE_FULL
        return None

    def _take_waiting(self) -> list[Lease]:
        taken = list(self._waiting)
        self._waiting.clear()
        self._keys.difference_update(lease.key for lease in taken)
        self._changed.notify_all()
        return taken

    def _drop(self, leases: Sequence[Lease], reason: Drop) -> None:
        for lease in leases:
            lease.release()
        if leases:
            self._tally.dropped(reason, len(leases))

    def _run(self) -> None:
        step_back(_NICENESS)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                count = min(self._batch_size, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                self._writing.update(batch)
            try:
                self._write(batch)
            except Exception:
                # A thread that dies would stop all writing for good.
                logger.exception("%d chunks were not written", count)
                self._tally.dropped(Drop.FAILED, count)
            finally:
                for lease in batch:
                    lease.release()
                with self._changed:
                    self._writing.difference_update(batch)
                    self._discarded.difference_update(batch)
                    self._keys.difference_update(lease.key for lease in batch)
                    self._changed.notify_all()
