"""Background writes: bounded, never waited for, every lease released once."""

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from engine.storage import Drop, Lease, Tally
from engine.storage.write_queue import WriteQueue
from engine.tokens import ChunkKey
from tests.support.waiting import eventually

WAIT = 30.0


class Writing:
    """A queue whose writer waits at a gate."""

    def __init__(self, max_chunks: int = 3, threads: int = 1) -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.written: list[int] = []
        self.released: list[int] = []
        self.tally = Tally()
        self.failure: Exception | None = None
        self.queue = WriteQueue(
            "test",
            self.write,
            self.tally,
            max_chunks=max_chunks,
            threads=threads,
            batch_size=2,
        )

    def write(self, leases: Sequence[Lease]) -> None:
        self.begun.set()
        if not self.gate.wait(WAIT):
            raise TimeoutError
        if self.failure is not None:
            raise self.failure
        self.written += [int(lease.key.chunk_hash[0]) for lease in leases]

    def offer(self, number: int) -> bool:
        key = ChunkKey("test", bytes([number]))
        return self.queue.offer(
            Lease(key, 1, memoryview(b"x"), lambda: self.released.append(number))
        )

    def dropped(self, reason: Drop) -> int:
        return self.tally.snapshot().drops[reason]


@pytest.fixture
def writing() -> Iterator[Writing]:
    writing = Writing()
    yield writing
    writing.gate.set()
    writing.queue.close(WAIT)


def begin(writing: Writing) -> None:
    """Have the writer hold chunk 1."""
    assert writing.offer(1)
    assert writing.begun.wait(WAIT)


def test_offer__queue_full__drops_without_waiting(writing: Writing) -> None:
    begin(writing)
    assert [writing.offer(number) for number in (2, 3, 4, 5)] == [True, True, False, False]
    assert writing.queue.depth == 3
    assert writing.dropped(Drop.QUEUE_FULL) == 2
    assert writing.released == [4, 5]
    writing.gate.set()
    assert writing.queue.wait_idle(WAIT)
    assert writing.written == [1, 2, 3]
    eventually(lambda: sorted(writing.released) == [1, 2, 3, 4, 5])


def test_offer__key_that_waits_or_is_written__counts_as_taken(writing: Writing) -> None:
    begin(writing)
    assert writing.offer(1)
    assert writing.offer(2)
    assert writing.offer(2)
    assert writing.released == [1, 2]
    writing.gate.set()
    assert writing.queue.wait_idle(WAIT)
    assert writing.written == [1, 2]


def test_pause__some_wait__drops_them_and_takes_none_until_resumed(writing: Writing) -> None:
    begin(writing)
    writing.offer(2)
    writing.queue.pause()
    assert not writing.offer(3)
    assert writing.dropped(Drop.FROZEN) == 2
    assert writing.released == [2, 3]
    writing.gate.set()
    assert writing.queue.wait_idle(WAIT)
    assert writing.written == [1]
    writing.queue.resume()
    assert writing.offer(2)
    assert writing.queue.wait_idle(WAIT)
    assert writing.written == [1, 2]


def test_discard__some_wait__drops_them_and_goes_on(writing: Writing) -> None:
    begin(writing)
    writing.offer(2)
    writing.queue.discard()
    assert writing.dropped(Drop.CLEARED) == 1
    assert writing.offer(3)
    writing.gate.set()
    assert writing.queue.wait_idle(WAIT)
    assert writing.written == [1, 3]


def test_discard__chunk_is_being_written__is_told_and_may_be_offered_anew() -> None:
    told: list[tuple[int, bool]] = []
    gate, begun = threading.Event(), threading.Event()

    def write(leases: Sequence[Lease]) -> None:
        begun.set()
        assert gate.wait(WAIT)
        told.extend((lease.num_tokens, queue.was_discarded(lease)) for lease in leases)

    queue = WriteQueue("test", write, Tally(), max_chunks=4, threads=1, batch_size=1)
    key = ChunkKey("test", b"1")
    try:
        assert queue.offer(Lease(key, 1, memoryview(b"x"), lambda: None))
        assert begun.wait(WAIT)
        queue.discard()
        assert queue.offer(Lease(key, 2, memoryview(b"x"), lambda: None))
        assert queue.depth == 2
    finally:
        gate.set()
        queue.close(WAIT)
    assert told == [(1, True), (2, False)]


def test_write__raises__is_counted_and_the_thread_goes_on(writing: Writing) -> None:
    writing.failure = RuntimeError("broken")
    begin(writing)
    writing.gate.set()
    assert writing.queue.wait_idle(WAIT)
    assert writing.dropped(Drop.FAILED) == 1
    writing.failure = None
    assert writing.offer(2)
    assert writing.queue.wait_idle(WAIT)
    assert writing.written == [2]
    eventually(lambda: writing.released == [1, 2])


def test_close__in_time__writes_what_waits(writing: Writing) -> None:
    begin(writing)
    writing.offer(2)
    writing.gate.set()
    writing.queue.close(WAIT)
    assert writing.written == [1, 2]
    assert not writing.offer(3)
    assert writing.dropped(Drop.CLOSED) == 1


def test_close__writer_hangs__drops_the_rest_after_the_timeout(writing: Writing) -> None:
    begin(writing)
    writing.offer(2)
    started = time.monotonic()
    writing.queue.close(0.05)
    assert time.monotonic() - started < 10
    assert writing.dropped(Drop.CLOSED) == 1
    assert writing.released == [2]


def test_lease__released_twice__is_refused() -> None:
    lease = Lease(ChunkKey("test", b"1"), 1, memoryview(b"x"), lambda: None)
    lease.release()
    with pytest.raises(ValueError, match="once"):
        lease.release()


def test_offer__many_threads__every_lease_is_released_once() -> None:
    writing = Writing(max_chunks=8, threads=3)
    writing.gate.set()

    def work(worker: int) -> None:
        for number in range(60):
            writing.offer((worker * 60 + number) % 250)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writing.queue.close(WAIT)
    eventually(lambda: len(writing.released) == 360)
    assert writing.queue.depth == 0
