"""Which chunk is evicted first."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
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


class FirstInFirstOut:
    """Evicts what was stored first, used or not."""

    def __init__(self) -> None:
        self._order: OrderedDict[ChunkKey, None] = OrderedDict()

    def insert(self, key: ChunkKey) -> None:
        self._order[key] = None

    def touch(self, key: ChunkKey) -> None:
        """Being used changes nothing."""

    def remove(self, key: ChunkKey) -> None:
        del self._order[key]

    def coldest_first(self) -> Iterator[ChunkKey]:
        return iter(self._order)


class LeastRecentlyUsed(FirstInFirstOut):
    """Evicts what has not been used for longest."""

    def touch(self, key: ChunkKey) -> None:
        self._order.move_to_end(key)


class MostRecentlyUsed(LeastRecentlyUsed):
    """Evicts what was used last: best for one long scan that comes again and again."""

    def coldest_first(self) -> Iterator[ChunkKey]:
        return reversed(self._order)


class LeastFrequentlyUsed:
    """Evicts what was used least often; of those, what has not been used for
    longest. Constant time a call (Matani, Shah and Mitra, "An O(1) algorithm for
    implementing the LFU cache eviction scheme", 2010)."""

    def __init__(self) -> None:
        self._uses: dict[ChunkKey, int] = {}
        self._by_uses: dict[int, OrderedDict[ChunkKey, None]] = {}

    def insert(self, key: ChunkKey) -> None:
        self._put(key, 1)

    def touch(self, key: ChunkKey) -> None:
        uses = self._uses[key]
        self.remove(key)
        self._put(key, uses + 1)

    def remove(self, key: ChunkKey) -> None:
        uses = self._uses.pop(key)
        alike = self._by_uses[uses]
        del alike[key]
        if not alike:
            del self._by_uses[uses]

    def coldest_first(self) -> Iterator[ChunkKey]:
        return chain.from_iterable(self._by_uses[uses] for uses in sorted(self._by_uses))

    def _put(self, key: ChunkKey, uses: int) -> None:
        self._uses[key] = uses
        self._by_uses.setdefault(uses, OrderedDict())[key] = None


POLICIES: Mapping[str, Callable[[], EvictionPolicy]] = MappingProxyType(
    {
        "LRU": LeastRecentlyUsed,
        "LFU": LeastFrequentlyUsed,
        "FIFO": FirstInFirstOut,
        "MRU": MostRecentlyUsed,
    }
)
"""Policies by the name that the key `cache_policy` gives them."""
