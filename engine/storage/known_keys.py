"""Remembering what a shared store has, so that it is not asked at every store."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from engine.tokens import ChunkKey


class KnownKeys:
    """The keys that were last seen in a store, at most `limit`. Others may have removed
    them since. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: OrderedDict[ChunkKey, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: ChunkKey) -> bool:
        with self._lock:
            return key in self._keys

    def add(self, keys: Iterable[ChunkKey]) -> None:
        with self._lock:
            for key in keys:
                self._keys[key] = None
                self._keys.move_to_end(key)
            while len(self._keys) > self._limit:
                self._keys.popitem(last=False)

    def remove(self, keys: Iterable[ChunkKey]) -> None:
        """Forget keys, known or not."""
        with self._lock:
            for key in keys:
                self._keys.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._keys.clear()
