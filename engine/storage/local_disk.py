"""The disk tier: chunks as files in directories, each on a device of its own."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import xxhash

from engine.storage.backend import ChunkBuffer, Lease, TierState
from engine.storage.breaker import BreakerState
from engine.storage.chunk import BackendUsage
from engine.storage.chunk_folder import DirectoryInUse
from engine.storage.disk_directory import DiskDirectory
from engine.storage.disk_settings import DirectIO, DiskSettings, FsyncPolicy
from engine.storage.format import ChunkLayout
from engine.storage.policy import EvictionPolicy
from engine.storage.tally import Tally
from engine.tokens import ChunkKey

__all__ = ["DirectIO", "DirectoryInUse", "DiskSettings", "FsyncPolicy", "LocalDiskBackend"]

_CLOSE_TIMEOUT_S = 3.0


class LocalDiskBackend:
    """A SlowBackend on local devices; see engine.storage.backend for what its methods
    do, engine.storage.chunk_folder for the files.

    The capacity is shared equally between the directories. A chunk goes to the
    directory that its hash chooses and is found in any, so that another list of
    directories loses nothing. Each has its own writer, order of eviction and
    breaker: one that fails leaves the others as they are. Thread-safe.
    """

    name = "LocalDiskBackend"
    batch_size = 1

    def __init__(
        self,
        directories: Sequence[Path],
        capacity_bytes: int,
        layout: ChunkLayout,
        make_policy: Callable[[], EvictionPolicy],
        settings: DiskSettings,
    ) -> None:
        """Takes on the chunks that are there. A directory that cannot be used is
        probed until it can. Raises OSError if none can be used, DirectoryInUse if
        another engine uses one, and ValueError for no directory or a namespace that
        is too long."""
        if not directories:
            raise ValueError("The disk tier needs at least one directory.")
        self.tally = Tally()
        self._capacity_bytes = capacity_bytes
        self._directories: list[DiskDirectory] = []
        try:
            for directory in directories:
                self._directories.append(
                    DiskDirectory(
                        directory,
                        capacity_bytes // len(directories),
                        layout,
                        make_policy,
                        settings,
                        self.tally,
                        max(1, settings.queue_chunks // len(directories)),
                    )
                )
            self._open()
        except (OSError, ValueError):
            self.close()
            raise

    def contains(self, keys: Sequence[ChunkKey]) -> list[bool]:
        """See SlowBackend."""
        return [any(directory.contains(key) for directory in self._directories) for key in keys]

    def load(self, buffers: Sequence[ChunkBuffer]) -> int:
        """See SlowBackend."""
        for filled, buffer in enumerate(buffers):
            if not any(directory.load(buffer) for directory in self._directories):
                return filled
        return len(buffers)

    def offer(self, lease: Lease) -> bool:
        """See SlowBackend."""
        if any(directory.contains(lease.key) for directory in self._directories):
            lease.release()
            return True
        return self._home(lease.key).offer(lease)

    def freeze(self) -> None:
        """See SlowBackend."""
        for directory in self._directories:
            directory.freeze()

    def unfreeze(self) -> None:
        """See SlowBackend."""
        for directory in self._directories:
            directory.unfreeze()

    def clear(self) -> int:
        """See SlowBackend."""
        return sum(directory.clear() for directory in self._directories)

    def usage(self) -> BackendUsage:
        """Sizes of files, headers included."""
        return BackendUsage(
            self._capacity_bytes,
            sum(directory.used_bytes for directory in self._directories),
            sum(directory.num_chunks for directory in self._directories),
        )

    def state(self) -> TierState:
        """OPEN while any directory is degraded."""
        is_degraded = any(directory.is_degraded for directory in self._directories)
        return TierState(
            BreakerState.OPEN if is_degraded else BreakerState.CLOSED,
            sum(directory.queued for directory in self._directories),
        )

    def flush(self, timeout: float) -> bool:
        """See SlowBackend."""
        deadline = time.monotonic() + timeout
        flushed = [
            directory.flush(max(0.0, deadline - time.monotonic()))
            for directory in self._directories
        ]
        return all(flushed)

    def close(self) -> None:
        """See SlowBackend. No effect the second time."""
        deadline = time.monotonic() + _CLOSE_TIMEOUT_S
        for directory in self._directories:
            directory.close(max(0.0, deadline - time.monotonic()))

    def _open(self) -> None:
        failures: list[tuple[DiskDirectory, OSError]] = []
        for directory in self._directories:
            try:
                directory.open()
            except OSError as error:
                failures.append((directory, error))
        if len(failures) == len(self._directories):
            raise failures[0][1]
        for failed, why in failures:
            failed.degrade(why)

    def _home(self, key: ChunkKey) -> DiskDirectory:
        """The directory whose name makes the highest hash with the key's (Thaler and
        Ravishankar, rendezvous hashing): the order of the list does not matter."""
        return max(
            self._directories,
            key=lambda directory: xxhash.xxh3_64_intdigest(
                key.chunk_hash + os.fsencode(directory.directory)
            ),
        )
