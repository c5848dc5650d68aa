"""Which chunk is evicted first."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count
from types import MappingProxyType
from typing import Protocol

from engine.tokens import ChunkKey

Rank = tuple[int, int]
"""A key's place in the order: the coldest has the lowest, and no two have the same."""


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

    def rank(self, key: ChunkKey) -> Rank:
        """The place of a stored key."""

    def touch_removed(self, key: ChunkKey, rank: Rank) -> bool:
        """As touch, for a key that was removed from that place but is stored all the
        same. Whether it is in the order again; where being used changes nothing, it
        is not."""


class FirstInFirstOut:
    """Evicts what was stored first, used or not."""

    def __init__(self) -> None:
        self._order: OrderedDict[ChunkKey, int] = OrderedDict()
        """When each key came to its place, counted."""
        self._moments = count()

    def insert(self, key: ChunkKey) -> None:
        self._order[key] = next(self._moments)

    def touch(self, key: ChunkKey) -> None:
        """Being used changes nothing."""

    def remove(self, key: ChunkKey) -> None:
        del self._order[key]

    def coldest_first(self) -> Iterator[ChunkKey]:
        return iter(self._order)

    def rank(self, key: ChunkKey) -> Rank:
        return (0, self._order[key])

    def touch_removed(self, key: ChunkKey, rank: Rank) -> bool:
        return False


class LeastRecentlyUsed(FirstInFirstOut):
    """Evicts what has not been used for longest."""

    def touch(self, key: ChunkKey) -> None:
        self._order[key] = next(self._moments)
        self._order.move_to_end(key)

    def touch_removed(self, key: ChunkKey, rank: Rank) -> bool:
        self.insert(key)
        return True


class MostRecentlyUsed(LeastRecentlyUsed):
    """Evicts what was used last: best for one long scan that comes again and again."""

    def coldest_first(self) -> Iterator[ChunkKey]:
        return reversed(self._order)

    def rank(self, key: ChunkKey) -> Rank:
        return (0, -self._order[key])


class LeastFrequentlyUsed:
    """Evicts what was used least often; of those, what has not been used for
    longest. Constant time a call (Matani, Shah and Mitra, "An O(1) algorithm for
    implementing the LFU cache eviction scheme", 2010)."""

    def __init__(self) -> None:
        self._uses: dict[ChunkKey, int] = {}
        self._by_uses: dict[int, OrderedDict[ChunkKey, int]] = {}
        """When each key came to its place, counted, by how often it was used."""
        self._moments = count()

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

    def rank(self, key: ChunkKey) -> Rank:
        uses = self._uses[key]
        return (uses, self._by_uses[uses][key])

    def touch_removed(self, key: ChunkKey, rank: Rank) -> bool:
        uses, _ = rank
        self._put(key, uses + 1)
        return True

    def _put(self, key: ChunkKey, uses: int) -> None:
        self._uses[key] = uses
        self._by_uses.setdefault(uses, OrderedDict())[key] = next(self._moments)


POLICIES: Mapping[str, Callable[[], EvictionPolicy]] = MappingProxyType(
    {
        "LRU": LeastRecentlyUsed,
        "LFU": LeastFrequentlyUsed,
        "FIFO": FirstInFirstOut,
        "MRU": MostRecentlyUsed,
    }
)
"""Policies by the name that the key `cache_policy` gives them."""
