"""Which chunk in memory is evicted next, of those that nobody uses."""

import heapq
from collections.abc import Callable

from engine.storage.policy import EvictionPolicy, Rank
from engine.tokens import ChunkKey

_STALE_AT_LEAST = 64


class EvictionOrder:
    """The order that a policy says, in which chunks in use are passed over.

    Thousands may be in use, promised to requests that wait, and they are the coldest
    soon. So each is passed over once: it is set aside, and comes back into its place
    when it is not in use any more. Not thread-safe.
    """

    def __init__(self, policy: EvictionPolicy) -> None:
        self._policy = policy
        self._aside: dict[ChunkKey, Rank] = {}
        """Chunks that are not in the policy's own order, and their places in it."""
        self._back: set[ChunkKey] = set()
        """Those of them that nobody uses any more."""
        self._back_by_rank: list[tuple[Rank, ChunkKey]] = []
        """A heap; what it holds besides `_back` is stale."""

    def insert(self, key: ChunkKey) -> None:
        """Note a chunk that is now stored."""
        self._policy.insert(key)

    def touch(self, key: ChunkKey) -> None:
        """Note that a stored chunk was used."""
        rank = self._aside.get(key)
        if rank is None:
            self._policy.touch(key)
        elif self._policy.touch_removed(key, rank):
            self._forget_aside(key)

    def remove(self, key: ChunkKey) -> None:
        """Forget a stored chunk."""
        if key in self._aside:
            self._forget_aside(key)
        else:
            self._policy.remove(key)

    def unused(self, key: ChunkKey) -> None:
        """Note that a stored chunk is not in use any more."""
        if not self._aside or key not in self._aside or key in self._back:
            return
        self._back.add(key)
        heapq.heappush(self._back_by_rank, (self._aside[key], key))
        if len(self._back_by_rank) > 2 * len(self._back) + _STALE_AT_LEAST:
            self._back_by_rank = [(self._aside[each], each) for each in self._back]
            heapq.heapify(self._back_by_rank)

    def coldest(self, is_in_use: Callable[[ChunkKey], bool]) -> ChunkKey | None:
        """The stored chunk that should go next; None if all are in use."""
        while True:
            key = self._first()
            if key is None or not is_in_use(key):
                return key
            if key in self._back:
                self._back.discard(key)
            else:
                self._aside[key] = self._policy.rank(key)
                self._policy.remove(key)

    def keys(self) -> list[ChunkKey]:
        """All stored chunks, in the order in which they should go."""
        aside = [(rank, key) for key, rank in self._aside.items()]
        others = [(self._policy.rank(key), key) for key in self._policy.coldest_first()]
        return [key for _, key in sorted(aside + others)]

    def _first(self) -> ChunkKey | None:
        """The coldest chunk that was not found in use; None if there is none."""
        front = next(self._policy.coldest_first(), None)
        while self._back_by_rank:
            rank, key = self._back_by_rank[0]
            if key in self._back and self._aside[key] == rank:
                is_colder = front is None or rank < self._policy.rank(front)
                return key if is_colder else front
            heapq.heappop(self._back_by_rank)
        return front

    def _forget_aside(self, key: ChunkKey) -> None:
        del self._aside[key]
        self._back.discard(key)
