"""Chunk statistics: collecting, counting, ending."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import chain
from typing import NamedTuple

from engine.lookup.client import Prompt
from engine.lookup.statistics.auto_exit import AutoExit, StatisticsSettings, auto_exit
from engine.lookup.statistics.prompt_queue import PromptQueue
from engine.lookup.statistics.seen_requests import SeenRequests
from engine.lookup.statistics.status import Counts, Overhead, StatisticsStatus
from engine.lookup.statistics.unique_counter import CountingFailed, UniqueCounter

logger = logging.getLogger(__name__)

_MAX_QUEUED_PROMPTS = 4_096
_MAX_QUEUED_CHUNKS = 262_144
"""About 18 MiB."""
_MAX_SEEN_REQUESTS = 65_536
_BATCH_CHUNKS = 32_768
"""So many at once: in each of its twenty-odd steps the counter lets go of Python's global
lock, and each time a busy thread loses tens of microseconds to the switch."""
_PERIOD_S = 1.0
"""How often prompts that fill no batch are counted, and settings and hours looked at."""
_JOIN_S = 5.0


class _Idle(Enum):
    """There is nothing more to count, ever."""

    CLOSED = "closed"


class _Batch(NamedTuple):
    """What the counting thread does next."""

    forget_first: bool
    prompts: list[Prompt]


class _Reading(NamedTuple):
    """What the counter said after the last batch."""

    expected_error: float
    memory_bytes: int


class ChunkStatistics:
    """Counts the chunks of prompts in a thread of its own. Thread-safe; only `flush` and
    `close` wait for counting.

    `start` continues the counts, and the hours of auto-exit begin anew. A batch is
    counted when it is full, or after a second; then settings and hours are looked at,
    too. What was queued before a stop, of whatever kind, is still counted; so more than
    the target may be counted, by no more than the queue holds. After a failure `start`
    begins with counts of zero: what the counter remembered is lost.
    """

    def __init__(
        self,
        counter: UniqueCounter,
        settings: StatisticsSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_queued_prompts: int = _MAX_QUEUED_PROMPTS,
        max_queued_chunks: int = _MAX_QUEUED_CHUNKS,
        max_seen_requests: int = _MAX_SEEN_REQUESTS,
    ) -> None:
        """Collects nothing until `start`. The counter is closed with this; no other may
        use it. `clock` gives seconds and never goes back."""
        self._counter = counter
        self._settings = settings
        self._clock = clock
        self._max_seen_requests = max_seen_requests
        self._queue = PromptQueue(max_queued_prompts, max_queued_chunks)
        self._seen = SeenRequests(max_seen_requests)
        self._counts = Counts()
        self._reading = self._read_counter()
        self._is_busy = False
        self._counting = 0
        """Prompts of the batch that is being counted."""
        self._is_collecting = False
        self._collecting_since = 0.0
        """By `clock`."""
        self._started_at: float | None = None
        self._exit_reason: str | None = None
        self._has_failed = False
        self._must_forget = False
        """The counter is to forget all before it counts the next batch."""
        self._is_hurried = False
        """Someone waits for the next batch, full or not."""
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="chunk-statistics", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Begin to collect. No effect while collecting or when closed."""
        with self._changed:
            if self._is_collecting or self._is_closed:
                return
            if self._has_failed:
                self._begin_anew()
            self._is_collecting = True
            self._collecting_since = self._clock()
            self._started_at = time.time()
            self._exit_reason = None
            self._changed.notify_all()

    def stop(self) -> None:
        """Take no more prompts. No effect while not collecting."""
        with self._changed:
            self._is_collecting = False
            self._changed.notify_all()

    def reset(self) -> None:
        """Set all counts to zero and go on as before. What was offered until now is not
        counted any more."""
        with self._changed:
            self._begin_anew()
            self._changed.notify_all()

    def offer(self, prompt: Prompt) -> None:
        """Have a prompt counted, if collecting and if its request was not counted
        already. Takes microseconds."""
        if not self._is_collecting:
            return
        began = time.perf_counter()
        with self._changed:
            if self._is_collecting:
                self._accept(prompt)
                self._counts.handovers += 1
                self._counts.handover_seconds += time.perf_counter() - began

    def status(self) -> StatisticsStatus:
        """The counts as of the last batch; waits for nothing."""
        hours = self._settings.chunk_statistics_auto_exit_timeout_hours
        target = self._settings.chunk_statistics_auto_exit_target_unique_chunks
        with self._changed:
            counts = self._counts
            return StatisticsStatus(
                is_collecting=self._is_collecting,
                total_chunks=counts.total_chunks,
                unique_chunks=counts.unique_chunks,
                timestamp=time.time(),
                auto_exit_enabled=hours > 0 or target is not None,
                auto_exit_timeout_hours=hours,
                auto_exit_target_unique_chunks=target,
                total_requests=counts.total_requests,
                duplicate_chunks=counts.duplicate_chunks,
                reuse_rate=counts.reuse_rate,
                strategy=self._counter.strategy,
                expected_error=self._reading.expected_error,
                dropped_requests=counts.dropped_requests,
                queued_requests=len(self._queue) + self._counting,
                lookup_overhead_seconds=counts.handover_seconds,
                counting_seconds=counts.counting_seconds,
                memory_bytes=self._reading.memory_bytes
                + self._queue.memory_bytes
                + self._seen.memory_bytes,
                started_at=self._started_at,
                exit_reason=self._exit_reason,
            )

    def overhead(self) -> Overhead:
        """What lookups spent on this since the last reset."""
        with self._changed:
            return Overhead(self._counts.handover_seconds, self._counts.handovers)

    def flush(self, timeout_s: float) -> bool:
        """Have all that was offered counted now, and wait up to `timeout_s` seconds for
        it; whether that was reached."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(self._is_done, timeout_s)

    def close(self) -> None:
        """Stop, and drop what is queued. Waits a few seconds for a batch that is being
        counted."""
        with self._changed:
            self._is_collecting = False
            self._is_closed = True
            self._counts.dropped_requests += self._queue.clear()
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def _accept(self, prompt: Prompt) -> None:
        # Asked here and not in the thread: a request that is looked up again and again
        # while it waits would fill the queue.
        if prompt.request_id in self._seen:
            return
        if not self._queue.put(prompt):
            self._counts.dropped_requests += 1
            return
        self._seen.add(prompt.request_id)
        # Waking a thread costs more than all the rest of this.
        if self._is_batch_full():
            self._changed.notify_all()

    def _begin_anew(self) -> None:
        self._queue.clear()
        self._seen = SeenRequests(self._max_seen_requests)
        self._counts = Counts()
        self._reading = _Reading(0.0, self._reading.memory_bytes)
        self._has_failed = False
        self._must_forget = True

    def _is_done(self) -> bool:
        return self._is_closed or not (self._queue or self._must_forget or self._is_busy)

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not _Idle.CLOSED:
                self._count(batch)
        finally:
            self._counter.close()
            with self._changed:
                if not self._is_closed:
                    # Only a mistake in this program leads here; the traceback is logged.
                    self._is_closed = True
                    self._end("the counting thread has ended")
                self._changed.notify_all()

    def _next_batch(self) -> _Batch | _Idle:
        with self._changed:
            while not self._is_closed:
                if not self._is_batch_due():
                    self._changed.wait(_PERIOD_S if self._is_collecting else None)
                self._exit_if_due()
                if self._queue or self._must_forget:
                    return self._take_batch()
                self._is_hurried = False
            return _Idle.CLOSED

    def _take_batch(self) -> _Batch:
        batch = _Batch(self._must_forget, self._queue.take(_BATCH_CHUNKS))
        self._must_forget = False
        self._is_busy = True
        self._counting = len(batch.prompts)
        return batch

    def _is_batch_due(self) -> bool:
        if self._must_forget:
            return True
        is_waited_for = self._is_hurried or not self._is_collecting
        return bool(self._queue) and (is_waited_for or self._is_batch_full())

    def _is_batch_full(self) -> bool:
        return self._queue.chunks >= _BATCH_CHUNKS or self._queue.is_half_full

    def _count(self, batch: _Batch) -> None:
        began = time.thread_time()
        hashes = list(chain.from_iterable(prompt.hashes for prompt in batch.prompts))
        try:
            if batch.forget_first:
                self._counter.reset()
            new = self._count_new(hashes)
        except (CountingFailed, MemoryError) as error:
            self._fail(str(error) or "out of memory", batch)
            return
        reading = self._read_counter()
        with self._changed:
            self._is_busy = False
            self._counting = 0
            # Otherwise a reset came in between, and the batch was offered before it.
            if not self._must_forget:
                self._reading = reading
                self._counts.total_requests += len(batch.prompts)
                self._counts.total_chunks += len(hashes)
                self._counts.unique_chunks += new
                self._counts.counting_seconds += time.thread_time() - began
            self._exit_if_due()
            self._changed.notify_all()

    def _count_new(self, hashes: Sequence[bytes]) -> int:
        return sum(
            self._counter.count(hashes[start : start + _BATCH_CHUNKS])
            for start in range(0, len(hashes), _BATCH_CHUNKS)
        )

    def _read_counter(self) -> _Reading:
        return _Reading(self._counter.expected_error, self._counter.memory_bytes)

    def _exit_if_due(self) -> None:
        if not self._is_collecting:
            return
        collecting_s = self._clock() - self._collecting_since
        reason = auto_exit(self._settings, collecting_s, self._counts.unique_chunks)
        if reason is not AutoExit.GO_ON:
            self._is_collecting = False
            self._exit_reason = reason.value

    def _fail(self, why: str, batch: _Batch) -> None:
        with self._changed:
            self._is_busy = False
            self._counting = 0
            # A reset that came in between makes the counter anew in any case.
            if not self._must_forget:
                self._has_failed = True
                self._counts.dropped_requests += len(batch.prompts)
                self._end(why)
            self._changed.notify_all()
        logger.warning("Chunk statistics failed: %s", why)

    def _end(self, why: str) -> None:
        self._is_collecting = False
        self._exit_reason = f"failed: {why}"
        self._counts.dropped_requests += self._queue.clear()
