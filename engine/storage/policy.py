"""Which chunk is evicted first."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from engine.tokens import ChunkKey


class EvictionPolicy(Protocol):
    """Keeps the order of keys; its owner decides what may go. Not thread-safe."""

    def insert(self, key: ChunkKey) -> None:
        """Note a key that is now stored."""

    def touch(self, key: ChunkKey) -> None:
        """Note that a stored key was used."""

    def remove(self, key: ChunkKey) -> None:
        """Forget a stored key."""

    def coldest_first(self) -> Iterator[ChunkKey]:
        """All keys in the order in which they should be evicted."""


class LeastRecentlyUsed:
    """Evicts what has not been used for longest."""

    def __init__(self) -> None:
        self._order: OrderedDict[ChunkKey, None] = OrderedDict()

    def insert(self, key: ChunkKey) -> None:
        self._order[key] = None

    def touch(self, key: ChunkKey) -> None:
        self._order.move_to_end(key)

    def remove(self, key: ChunkKey) -> None:
        del self._order[key]

    def coldest_first(self) -> Iterator[ChunkKey]:
        return iter(self._order)


POLICIES: Mapping[str, Callable[[], EvictionPolicy]] = MappingProxyType({"LRU": LeastRecentlyUsed})
"""Policies by the name that the key `cache_policy` gives them."""
