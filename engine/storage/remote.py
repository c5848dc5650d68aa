"""The remote tier: chunks in a medium that engines share."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from engine.storage.backend import ChunkBuffer, Lease, TierState
from engine.storage.breaker import CircuitBreaker
from engine.storage.chunk import BackendUsage
from engine.storage.connectors import (
    Connector,
    ConnectorError,
    ConnectorRefusal,
    ConnectorTimeout,
    EncodedChunk,
)
from engine.storage.deadline import DeadlineThreads
from engine.storage.format import (
    ChunkLayout,
    CorruptChunk,
    ForeignChunk,
    make_header,
    read_header,
)
from engine.storage.known_keys import KnownKeys
from engine.storage.serde import SERDES, decode_payload
from engine.storage.tally import Count, Drop, Fault, Tally
from engine.storage.write_queue import WriteQueue
from engine.tokens import ChunkKey

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

_READ_THREADS = 8
_WRITE_THREADS = 1
_BATCH_CHUNKS = 4
_CLOSE_SECONDS = 5.0
_KNOWN_KEYS = 1 << 16
_END = -1


class RemoteBackend:
    """Chunks behind a Connector. Thread-safe.

    Every call that a request waits for runs in a thread of this backend and is
    waited for at most `timeout_s` seconds; then the answer is that nothing is
    there. A connector that fails too often in a row is left alone until it
    answers a ping.

    Writes run in a thread of their own, which holds the lease for as long as the
    connector takes: memory must not be used anew while it is being sent.
    """

    name = "RemoteBackend"
    batch_size = _BATCH_CHUNKS

    def __init__(
        self,
        connector: Connector,
        layout: ChunkLayout,
        *,
        serde_name: Callable[[], str],
        timeout_s: Callable[[], float],
        queue_chunks: int,
        breaker_threshold: Callable[[], int],
        breaker_interval_s: Callable[[], float],
    ) -> None:
        """`serde_name`, a key of SERDES, decides how chunks are written from now on;
        what is read says itself how it was written. The backend closes the
        connector."""
        self.tally = Tally()
        self._connector = connector
        self._layout = layout
        self._serde_name = serde_name
        self._timeout_s = timeout_s
        self._frozen = False
        self._written_chunks = 0
        self._counting = threading.Lock()
        # A prompt that is stored again and again must not cost a round trip each time.
        self._known = KnownKeys(_KNOWN_KEYS)
        self._threads = DeadlineThreads("remote", _READ_THREADS)
        self._breaker = CircuitBreaker(
            self.name, self._probe, (ConnectorError,), breaker_threshold, breaker_interval_s
        )
        self._queue = WriteQueue(
            "remote",
            self._write,
            self.tally,
            max_chunks=queue_chunks,
            threads=_WRITE_THREADS,
            batch_size=_BATCH_CHUNKS,
        )
        # Connections, directories and the topology of a cluster are there before the
        # first request needs them.
        self._threads.start(self._greet)

    def contains(self, keys: Sequence[ChunkKey]) -> list[bool]:
        if not keys or self._breaker.is_open:
            return [False] * len(keys)
        try:
            found = self._ask(lambda: self._connector.contains(keys), self._deadline())
        except ConnectorError as error:
            self._failed(error, Fault.READ)
            return [False] * len(keys)
        self._known.add(keys[:found])
        # Who removed one has often removed those after it too.
        self._known.remove(keys[found:])
        return [index < found for index in range(len(keys))]

    def load(self, buffers: Sequence[ChunkBuffer]) -> int:
        # The connector's thread never sees the buffers: it brings memory of its own, and
        # this thread copies. So a load that is given up, or hangs in the kernel for a
        # mount that is gone, cannot write into memory that was given back.
        if not buffers or self._breaker.is_open:
            return 0
        started = time.monotonic()
        deadline = started + self._timeout_s()
        keys = [buffer.key for buffer in buffers]
        try:
            chunks = self._ask(lambda: self._connector.get(keys), deadline)
        except ConnectorError as error:
            self._failed(error, Fault.READ)
            return 0
        filled = filled_bytes = 0
        for buffer, chunk in zip(buffers, chunks, strict=False):
            if not self._fill(buffer, chunk, deadline):
                break
            filled += 1
            filled_bytes += len(chunk.header) + len(chunk.payload)
        self._known.remove(keys[filled:])
        self.tally.add(
            {
                Count.LOADED_CHUNKS: filled,
                Count.LOADED_BYTES: filled_bytes,
                Count.LOAD_SECONDS: time.monotonic() - started,
            }
        )
        return filled

    def offer(self, lease: Lease) -> bool:
        if self._breaker.is_open:
            lease.release()
            self.tally.dropped(Drop.DEGRADED)
            return False
        if lease.key in self._known:
            lease.release()
            return True
        return self._queue.offer(lease)

    def freeze(self) -> None:
        """As the protocol has it; waits for a write that has begun, but no longer than
        the timeout. Until unfreeze nothing is probed either."""
        self._frozen = True
        self._breaker.suspend()
        self._queue.pause()
        self._queue.wait_idle(self._timeout_s())

    def unfreeze(self) -> None:
        self._frozen = False
        self._queue.resume()
        self._breaker.resume()

    def clear(self) -> int:
        """As the protocol has it; waits for a write that has begun, but no longer than
        the timeout. A medium that fails half way keeps the rest; one that is left
        alone keeps everything."""
        self._queue.discard()
        self._known.clear()
        self._queue.wait_idle(self._timeout_s())
        if self._breaker.is_open:
            logger.warning("%s is left alone and was not cleared", self.name)
            return 0
        removed = 0
        try:
            steps = self._ask(self._connector.clear, self._deadline())
            while (step := self._ask(lambda: next(steps, _END), self._deadline())) != _END:
                removed += step
        except ConnectorError as error:
            self._failed(error, Fault.WRITE)
            logger.warning("%s was not cleared to the end: %s", self.name, error)
        self._known.clear()
        with self._counting:
            self._written_chunks = 0
        return removed

    def usage(self) -> BackendUsage:
        """Without limit and without bytes: others fill and empty the medium too. The
        chunks are those that this process has written since it was cleared."""
        with self._counting:
            return BackendUsage(0, 0, self._written_chunks)

    def state(self) -> TierState:
        return TierState(self._breaker.state, self._queue.depth)

    def flush(self, timeout: float) -> bool:
        return self._queue.wait_idle(timeout)

    def close(self) -> None:
        self._queue.close(_CLOSE_SECONDS)
        self._breaker.close()
        self._threads.close()
        self._connector.close()

    def _ask(self, function: Callable[[], Answer], deadline: float) -> Answer:
        """Let the connector do something that a caller waits for. Raises
        ConnectorError."""
        answer = self._threads.call(function, deadline)
        self._breaker.succeeded()
        return answer

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s()

    def _fill(self, buffer: ChunkBuffer, chunk: EncodedChunk, deadline: float) -> bool:
        """Whether the buffer holds the chunk now. What is no chunk, or not this one, is
        removed, so that it can be written anew."""
        try:
            header = read_header(chunk.header)
            header.check_layout(self._layout)
            header.check_key(buffer.key, buffer.num_tokens)
            decode_payload(header, chunk.payload, buffer.payload)
        except CorruptChunk as error:
            self._discard(buffer.key, error, Fault.CORRUPT, deadline)
            return False
        except ForeignChunk as error:
            self._discard(buffer.key, error, Fault.FOREIGN, deadline)
            return False
        return True

    def _discard(self, key: ChunkKey, why: Exception, fault: Fault, deadline: float) -> None:
        self.tally.failed(fault)
        if self._frozen:
            return
        logger.warning("The chunk %s of %s is removed: %s", key.chunk_hash.hex(), self.name, why)
        try:
            self._ask(lambda: self._connector.delete([key]), deadline)
        except ConnectorError as error:
            self._failed(error, Fault.WRITE)

    def _write(self, leases: Sequence[Lease]) -> None:
        if self._breaker.is_open:
            self.tally.dropped(Drop.DEGRADED, len(leases))
            return
        started = time.monotonic()
        try:
            missing = self._missing(leases)
            chunks = self._encoded(missing)
            if chunks:
                self._connector.put(chunks)
            discarded = self._delete_discarded(leases)
        except ConnectorError as error:
            self._failed(error, Fault.WRITE)
            self.tally.dropped(Drop.FAILED, len(leases))
            return
        self._breaker.succeeded()
        too_large = {lease.key for lease in missing} - chunks.keys()
        gone = too_large.union(discarded)
        self._known.add(lease.key for lease in leases if lease.key not in gone)
        with self._counting:
            self._written_chunks += len(chunks)
        self.tally.add(
            {
                Count.STORED_CHUNKS: len(chunks),
                Count.STORED_BYTES: sum(len(c.header) + len(c.payload) for c in chunks.values()),
                Count.STORE_SECONDS: time.monotonic() - started,
            }
        )

    def _delete_discarded(self, leases: Sequence[Lease]) -> list[ChunkKey]:
        """Take back what arrived while the tier was being cleared. Raises
        ConnectorError."""
        discarded = [lease.key for lease in leases if self._queue.was_discarded(lease)]
        if discarded:
            self._connector.delete(discarded)
        return discarded

    def _missing(self, leases: Sequence[Lease]) -> list[Lease]:
        """Those whose chunks another engine has not stored yet. Raises ConnectorError."""
        missing: list[Lease] = []
        rest = list(leases)
        while rest:
            found = self._connector.contains([lease.key for lease in rest])
            missing += rest[found : found + 1]
            rest = rest[found + 1 :]
        return missing

    def _encoded(self, leases: Sequence[Lease]) -> dict[ChunkKey, EncodedChunk]:
        serde = SERDES[self._serde_name()]
        encoded: dict[ChunkKey, EncodedChunk] = {}
        for lease in leases:
            payload = serde.encode(lease.payload)
            if len(payload) > self._connector.max_value_bytes:
                self.tally.dropped(Drop.TOO_LARGE)
                continue
            header = make_header(self._layout, lease.key, lease.num_tokens, payload, serde.name)
            encoded[lease.key] = EncodedChunk(header, payload)
        return encoded

    def _failed(self, error: ConnectorError, fault: Fault) -> None:
        self.tally.failed(Fault.TIMEOUT if isinstance(error, ConnectorTimeout) else fault)
        # A medium that is full is still well enough to be read.
        if not isinstance(error, ConnectorRefusal):
            self._breaker.failed(error)

    def _greet(self) -> None:
        try:
            self._connector.ping()
        except ConnectorError as error:
            self._failed(error, Fault.READ)

    def _probe(self) -> None:
        self._threads.call(self._connector.ping, self._deadline())
        # A server that was away may have come back empty.
        self._known.clear()
