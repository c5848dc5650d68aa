"""Keeping the files of one directory within its capacity."""

import errno
import time

from engine.storage.chunk_folder import ChunkFolder
from engine.storage.disk_index import DiskIndex
from engine.storage.tally import Tally
from engine.tokens import ChunkKey


class DiskRoom:
    """Removes chunk files and what the index says of them. A file that cannot be removed
    goes on to take room and is tried again. Called under the lock of the index."""

    def __init__(
        self, folder: ChunkFolder, index: DiskIndex, capacity_bytes: int, tally: Tally
    ) -> None:
        self._folder = folder
        self._index = index
        self._capacity_bytes = capacity_bytes
        self._tally = tally

    def make(self, needed_bytes: int) -> None:
        """Evict until so many bytes are free. Raises OSError."""
        most_bytes = self._capacity_bytes - needed_bytes
        if self._index.used_bytes > most_bytes:
            self._remove_leftovers()
        while self._index.used_bytes > most_bytes:
            if not len(self._index):
                raise OSError(errno.ENOSPC, "no file can be removed", str(self._folder.directory))
            key, stored = self._index.coldest()
            self.remove(key)
            self._tally.evicted(max(0.0, time.time() - stored.arrived_at))

    def remove(self, key: ChunkKey) -> None:
        """Remove a stored chunk. Raises OSError; the chunk is gone then too, but not its
        file."""
        try:
            self._folder.remove(key)
        except OSError:
            self._index.leave(key)
            raise
        self._index.drop(key)

    def _remove_leftovers(self) -> None:
        """Until one cannot be removed again: there may be thousands of them."""
        while (key := self._index.oldest_leftover()) is not None:
            try:
                self._folder.remove(key)
            except OSError:
                self._index.keep_leftover(key)
                return
            self._index.drop_leftover(key)
