"""One directory of the disk tier: what is in it, in which order it goes, and how its
device is doing."""

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.storage.backend import ChunkBuffer, Lease
from engine.storage.breaker import CircuitBreaker
from engine.storage.chunk_file import SERDE
from engine.storage.chunk_folder import ChunkFolder, DirectoryInUse, discard, fault_of
from engine.storage.disk_index import DiskIndex, StoredFile
from engine.storage.disk_room import DiskRoom
from engine.storage.disk_settings import DiskSettings
from engine.storage.format import ChunkLayout, CorruptChunk, ForeignChunk, make_header
from engine.storage.policy import EvictionPolicy
from engine.storage.tally import Count, Drop, Fault, Tally
from engine.storage.write_queue import WriteQueue
from engine.tokens import ChunkKey

logger = logging.getLogger(__name__)
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.ESHUTDOWN)
"""The process's trouble, not the file's."""
_MOST_TOKENS = (1 << 63) - 1


class DiskDirectory:
    """Chunks in one directory. Bytes move outside its lock; renaming, removing and
    every change of the index happen under it, so that after `freeze` or `clear`
    has returned nothing is published.

    The sum of the files under their names never exceeds the capacity; the one
    that is being written comes on top until it gets its name. Thread-safe.
    """

    def __init__(
        self,
        directory: Path,
        capacity_bytes: int,
        layout: ChunkLayout,
        make_policy: Callable[[], EvictionPolicy],
        settings: DiskSettings,
        tally: Tally,
        queue_chunks: int,
    ) -> None:
        """Raises ValueError for a namespace that does not fit a chunk's header. Nothing
        is read or written before `open`."""
        self.directory = directory
        self._capacity_bytes = capacity_bytes
        self._tally = tally
        self._header_bytes = _header_bytes(layout)
        self._folder = ChunkFolder(directory, layout, settings, tally)
        self._index = DiskIndex(make_policy)
        self._room = DiskRoom(self._folder, self._index, capacity_bytes, tally)
        self._largest_bytes = 0
        self._frozen = False
        self._closed = False
        self._clears = 0
        self._must_clear = False
        """An order to clear came while the device did not obey."""
        self._lock = threading.Lock()
        self._breaker = CircuitBreaker(
            f"Disk directory {directory}",
            self._probe,
            (OSError, DirectoryInUse),
            settings.breaker_threshold,
            settings.breaker_interval_s,
        )
        self._queue = WriteQueue(
            f"disk-{directory.name}",
            self._write,
            tally,
            max_chunks=queue_chunks,
            threads=1,
            batch_size=1,
        )

    @property
    def is_degraded(self) -> bool:
        return self._breaker.is_open

    @property
    def used_bytes(self) -> int:
        return self._index.used_bytes

    @property
    def num_chunks(self) -> int:
        return len(self._index)

    @property
    def queued(self) -> int:
        """Chunks that wait to be written or are being written."""
        return self._queue.depth

    def open(self) -> None:
        """Lock the directory and take on the chunks that are in it. Raises
        DirectoryInUse and OSError."""
        with self._lock:
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "closed", str(self.directory))
            self._folder.open()
        try:
            with self._lock:
                if self._must_clear:
                    self._folder.remove_all()
                    self._must_clear = False
            while not self._take_on():
                logger.info("%s was cleared while it was read", self.directory)
        except OSError:
            with self._lock:
                self._folder.close()
            raise

    def degrade(self, why: Exception) -> None:
        """Use the directory only once a probe finds it well."""
        self._tally.failed(Fault.READ)
        self._breaker.open(why)

    def contains(self, key: ChunkKey) -> bool:
        return key in self._index and not self._breaker.is_open

    def load(self, buffer: ChunkBuffer) -> bool:
        """Fill the buffer; False if that cannot be done."""
        stored = self._index.get(buffer.key)
        if stored is None or self._breaker.is_open:
            return False
        started = time.perf_counter()
        try:
            self._folder.read(buffer)
        except (CorruptChunk, ForeignChunk) as error:
            self._set_aside(buffer.key, stored, error)
            return False
        except FileNotFoundError:
            # Where it was evicted or cleared meanwhile nothing went wrong.
            if self._index.get(buffer.key) is stored:
                self._tally.failed(Fault.READ)
                self._forget(buffer.key, stored)
            return False
        except OSError as error:
            self._tally.failed(Fault.READ)
            self._breaker.failed(error)
            if error.errno not in _OUT_OF_RESOURCES:
                # As long as it counts as stored it would be neither read nor replaced.
                self._forget(buffer.key, stored)
            return False
        self._tally.add(
            {
                Count.LOADED_CHUNKS: 1,
                Count.LOADED_BYTES: len(buffer.payload),
                Count.LOAD_SECONDS: time.perf_counter() - started,
            }
        )
        with self._lock:
            if not self._frozen and self._index.get(buffer.key) is stored:
                self._index.touch(buffer.key)
        return True

    def offer(self, lease: Lease) -> bool:
        """Take a chunk that is not stored, to be written; False if it was dropped."""
        if self._header_bytes + len(lease.payload) > self._capacity_bytes:
            return self._refuse(lease, Drop.TOO_LARGE)
        if self._breaker.is_open:
            return self._refuse(lease, Drop.DEGRADED)
        return self._queue.offer(lease)

    def freeze(self) -> None:
        """See SlowBackend."""
        self._breaker.suspend()
        self._queue.pause()
        with self._lock:
            self._frozen = True

    def unfreeze(self) -> None:
        """See SlowBackend."""
        with self._lock:
            self._frozen = False
        self._queue.resume()
        self._breaker.resume()

    def clear(self) -> int:
        """See SlowBackend. Where the device does not obey, files are removed as soon as
        it does, and not read before."""
        self._queue.discard()
        with self._lock:
            self._clears += 1
            removed = len(self._index)
            self._index.clear()
            try:
                if not self._folder.is_open():
                    raise OSError(errno.ENOENT, "not there", str(self.directory))
                self._folder.remove_all()
            except OSError as error:
                self._must_clear = True
                self._tally.failed(Fault.WRITE)
                self._breaker.open(error)
        return removed

    def flush(self, timeout: float) -> bool:
        """See SlowBackend."""
        return self._queue.wait_idle(timeout)

    def close(self, timeout: float) -> None:
        """Write what is queued for at most `timeout` seconds, end the threads and unlock
        the directory."""
        self._queue.close(timeout)
        self._breaker.close()
        with self._lock:
            self._closed = True
            self._index.clear()
            self._folder.close()
        self._folder.end_readers()

    def _take_on(self) -> bool:
        """Index the files that are there; False if they were cleared meanwhile. Raises
        OSError."""
        clears = self._clears
        found = self._folder.scan()
        with self._lock:
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "closed", str(self.directory))
            if clears != self._clears:
                return False
            self._index.clear()
            for chunk in found:
                self._index.add(chunk.key, StoredFile(chunk.file_bytes, chunk.arrived_at))
                self._largest_bytes = max(self._largest_bytes, chunk.file_bytes)
            if not self._frozen:
                self._room.make(0)
        return True

    def _write(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            dropped = self._write_one(lease)
            if dropped is not None:
                self._tally.dropped(dropped)

    def _write_one(self, lease: Lease) -> Drop | None:
        """Why the chunk was not written, None if it is stored."""
        if lease.key in self._index:
            return None
        started = time.perf_counter()
        file_bytes = self._header_bytes + len(lease.payload)
        self._largest_bytes = max(self._largest_bytes, file_bytes)
        try:
            refusal = self._write_and_publish(lease, file_bytes)
        except OSError as error:
            self._tally.failed(Fault.WRITE)
            self._breaker.failed(error)
            return Drop.FAILED
        if refusal is not None:
            return refusal
        self._tally.add(
            {
                Count.STORED_CHUNKS: 1,
                Count.STORED_BYTES: len(lease.payload),
                Count.STORE_SECONDS: time.perf_counter() - started,
            }
        )
        self._sync_names(lease.key)
        return None

    def _write_and_publish(self, lease: Lease, file_bytes: int) -> Drop | None:
        """Why the chunk was refused at the last moment. Raises OSError."""
        if self._breaker.is_open:
            return Drop.DEGRADED
        temporary = self._folder.write(lease)
        try:
            with self._lock:
                refusal = self._refusal(lease)
                if refusal is None:
                    self._room.make(file_bytes)
                    self._folder.publish(temporary, lease.key)
                    self._index.add(lease.key, StoredFile(file_bytes, time.time()))
                return refusal
        finally:
            # Once it has its own name there is nothing under this one.
            discard(temporary)

    def _sync_names(self, key: ChunkKey) -> None:
        try:
            self._folder.sync_names(key)
        except OSError as error:
            self._tally.failed(Fault.WRITE)
            self._breaker.failed(error)
        else:
            self._breaker.succeeded()

    def _refusal(self, lease: Lease) -> Drop | None:
        if self._closed:
            return Drop.CLOSED
        if self._frozen:
            return Drop.FROZEN
        if self._queue.was_discarded(lease):
            return Drop.CLEARED
        if self._breaker.is_open:
            return Drop.DEGRADED
        return None

    def _set_aside(
        self, key: ChunkKey, stored: StoredFile, why: CorruptChunk | ForeignChunk
    ) -> None:
        with self._lock:
            if self._frozen:
                self._tally.failed(fault_of(why))
            # Otherwise the file was removed meanwhile, and what has its name is new.
            elif self._index.get(key) is stored:
                self._folder.set_aside(key, why)
                with contextlib.suppress(OSError):
                    self._room.remove(key)

    def _forget(self, key: ChunkKey, stored: StoredFile) -> None:
        with self._lock:
            if not self._frozen and self._index.get(key) is stored:
                with contextlib.suppress(OSError):
                    self._room.remove(key)

    def _refuse(self, lease: Lease, reason: Drop) -> bool:
        lease.release()
        self._tally.dropped(reason)
        return False

    def _probe(self) -> None:
        """Raises OSError or DirectoryInUse while a chunk could not be written."""
        if not self._folder.is_open() or self._must_clear:
            self.open()
        self._folder.try_to_write(self._largest_bytes)


def _header_bytes(layout: ChunkLayout) -> int:
    """The length of any header, as only the namespace decides it."""
    longest = ChunkKey(layout.namespace, bytes(32))
    return len(make_header(layout, longest, _MOST_TOKENS, b"", SERDE))
