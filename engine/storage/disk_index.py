"""What one directory of the disk tier holds, in which order it goes, and how many bytes
it takes."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from engine.storage.policy import EvictionPolicy
from engine.tokens import ChunkKey


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A chunk file; `arrived_at` is in seconds since 1970."""

    file_bytes: int
    arrived_at: float


class DiskIndex:
    """The chunks whose files can be read, and the leftovers: files that could not be
    removed. Those hold no chunk any more, but take room until they are gone.

    Changed under its owner's lock; looking needs none.
    """

    def __init__(self, make_policy: Callable[[], EvictionPolicy]) -> None:
        self._make_policy = make_policy
        self._leftovers: OrderedDict[ChunkKey, int] = OrderedDict()
        self.clear()

    def __contains__(self, key: ChunkKey) -> bool:
        return key in self._files

    def __len__(self) -> int:
        return len(self._files)

    @property
    def used_bytes(self) -> int:
        """Of all files, leftovers included."""
        return self._used_bytes

    def get(self, key: ChunkKey) -> StoredFile | None:
        """The chunk's file; None if it is not stored."""
        return self._files.get(key)

    def coldest(self) -> tuple[ChunkKey, StoredFile]:
        """What goes next. Raises KeyError if there is nothing."""
        for key in self._policy.coldest_first():
            return key, self._files[key]
        raise KeyError("The index is empty.")

    def oldest_leftover(self) -> ChunkKey | None:
        """The one that was tried least recently; None if there is none."""
        return next(iter(self._leftovers), None)

    def add(self, key: ChunkKey, file: StoredFile) -> None:
        """Note a chunk that is not stored yet. Its file has replaced a leftover of the
        same name, if there was one."""
        self.drop_leftover(key)
        self._files[key] = file
        self._policy.insert(key)
        self._used_bytes += file.file_bytes

    def touch(self, key: ChunkKey) -> None:
        """Note that a stored chunk was used."""
        self._policy.touch(key)

    def drop(self, key: ChunkKey) -> None:
        """Forget a stored chunk, whose file is gone."""
        self._used_bytes -= self._files.pop(key).file_bytes
        self._policy.remove(key)

    def leave(self, key: ChunkKey) -> None:
        """Forget a stored chunk whose file is still there."""
        file = self._files[key]
        self.drop(key)
        self._leftovers[key] = file.file_bytes
        self._used_bytes += file.file_bytes

    def keep_leftover(self, key: ChunkKey) -> None:
        """Note that a leftover could not be removed this time either."""
        self._leftovers.move_to_end(key)

    def drop_leftover(self, key: ChunkKey) -> None:
        """Forget a leftover, if it is one: its file is gone."""
        self._used_bytes -= self._leftovers.pop(key, 0)

    def clear(self) -> None:
        """Forget everything."""
        self._policy = self._make_policy()
        self._files: dict[ChunkKey, StoredFile] = {}
        self._leftovers.clear()
        self._used_bytes = 0
