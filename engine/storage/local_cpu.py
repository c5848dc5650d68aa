"""The hot cache: chunks in the memory of this process."""

import threading
from collections.abc import Sequence

from engine.device import KVCacheSpec
from engine.storage.chunk import BackendUsage, Refusal, Reservation, StoredChunk
from engine.storage.policy import EvictionPolicy
from engine.storage.pool import MemoryPool
from engine.tokens import ChunkKey


class LocalCPUBackend:
    """Chunks in CPU memory, found by key, evicted by a policy.

    Bytes move outside this class and outside its lock: prepare_store hands out
    memory, the caller fills it, complete_store makes it a chunk or refuses;
    prepare_retrieve pins chunks, the caller reads them, release unpins them. A
    pinned chunk is never evicted.

    While frozen nothing changes: complete_store decides under the same lock that
    freeze takes, so no chunk is admitted after freeze has returned, and touch has
    no effect.

    Thread-safe; no call waits for a copy.
    """

    name = "LocalCPUBackend"

    def __init__(self, pool: MemoryPool, spec: KVCacheSpec, policy: EvictionPolicy) -> None:
        """The hot cache is on at first. `pool` slots hold one full chunk each."""
        self._pool = pool
        self._spec = spec
        self._policy = policy
        self._chunks: dict[ChunkKey, StoredChunk] = {}
        self._frozen = False
        self._hot_cache_enabled = True
        self._epoch = 0
        self._evicted_chunks = 0
        self._lock = threading.Lock()

    @property
    def frozen(self) -> bool:
        return self._frozen

    @property
    def hot_cache_enabled(self) -> bool:
        return self._hot_cache_enabled

    @property
    def evicted_chunks(self) -> int:
        """Chunks evicted to make room, since the start."""
        return self._evicted_chunks

    def usage(self) -> BackendUsage:
        with self._lock:
            return BackendUsage(self._pool.capacity_bytes, self._pool.used_bytes, len(self._chunks))

    def keys(self) -> list[ChunkKey]:
        """All keys, in the order in which they would be evicted."""
        with self._lock:
            return list(self._policy.coldest_first())

    def prepare_store(self, key: ChunkKey, num_tokens: int) -> Reservation | StoredChunk | Refusal:
        """Memory for a chunk, evicting what the policy says if none is free; or the
        chunk, pinned, if it is stored already; or why it is not admitted. The
        caller completes or aborts a Reservation and releases a StoredChunk."""
        with self._lock:
            refusal = self._refusal()
            if refusal is not None:
                return refusal
            stored = self._chunks.get(key)
            if stored is not None:
                stored.pins += 1
                return stored
            if self._pool.num_free == 0 and not self._evict_one():
                return Refusal.FULL
            slot = self._pool.allocate()
        chunk = self._spec.chunk_view(self._pool.memory(slot), num_tokens)
        return Reservation(key, num_tokens, chunk, slot, self._epoch)

    def complete_store(self, reservation: Reservation) -> StoredChunk | Refusal:
        """Make the filled memory a chunk, and pin it for the caller. If another
        caller has stored the same key meanwhile, that chunk is pinned and returned
        and this memory freed. Refuses after a freeze, a clear, or when the hot
        cache is off; the memory is then free again."""
        with self._lock:
            refusal = self._refusal()
            if refusal is None and reservation.epoch != self._epoch:
                refusal = Refusal.CLEARED
            if refusal is not None:
                self._give_back(reservation)
                return refusal
            stored = self._chunks.get(reservation.key)
            if stored is not None:
                self._give_back(reservation)
                stored.pins += 1
                return stored
            reservation.is_open = False
            admitted = StoredChunk(
                reservation.key,
                reservation.num_tokens,
                reservation.chunk,
                reservation.slot,
                pins=1,
            )
            self._chunks[admitted.key] = admitted
            self._policy.insert(admitted.key)
            return admitted

    def abort_store(self, reservation: Reservation) -> None:
        """Free the memory of a reservation; no effect on one that was completed."""
        with self._lock:
            if reservation.is_open:
                self._give_back(reservation)

    def prepare_retrieve(self, keys: Sequence[ChunkKey]) -> list[StoredChunk]:
        """The chunks of the longest prefix of `keys` that is stored, pinned. The
        caller releases them."""
        with self._lock:
            pinned = self._prefix(keys)
            for stored in pinned:
                stored.pins += 1
            return pinned

    def count_prefix(self, keys: Sequence[ChunkKey]) -> int:
        """How many leading keys are stored; changes nothing."""
        with self._lock:
            return len(self._prefix(keys))

    def touch(self, pinned: Sequence[StoredChunk]) -> None:
        """Note that the chunks of one request, in the order of its tokens, were
        used. The first becomes the most recent: a later chunk is worthless without
        those before it, so it is evicted first. No effect while frozen."""
        with self._lock:
            if self._frozen:
                return
            for stored in reversed(pinned):
                if stored.is_indexed:
                    self._policy.touch(stored.key)

    def release(self, pinned: Sequence[StoredChunk]) -> None:
        """Unpin chunks. One that was cleared while it was pinned frees its memory."""
        with self._lock:
            for stored in pinned:
                if stored.pins == 0:
                    raise ValueError("The chunk is not pinned; release each pin once.")
                stored.pins -= 1
                self._free_if_unused(stored)

    def clear(self) -> int:
        """Remove all chunks and return how many. Chunks in use leave the index now
        and their memory when they are released. A store in flight is refused."""
        with self._lock:
            return self._remove_all()

    def freeze(self) -> None:
        """From the return of this call on nothing is admitted, evicted or reordered."""
        with self._lock:
            self._frozen = True

    def unfreeze(self) -> None:
        with self._lock:
            self._frozen = False

    def enable_hot_cache(self) -> None:
        with self._lock:
            self._hot_cache_enabled = True

    def disable_hot_cache(self) -> None:
        """Remove all chunks and admit none, until the hot cache is enabled."""
        with self._lock:
            self._hot_cache_enabled = False
            self._remove_all()

    def _refusal(self) -> Refusal | None:
        if self._frozen:
            return Refusal.FROZEN
        if not self._hot_cache_enabled:
            return Refusal.HOT_CACHE_OFF
        return None

    def _prefix(self, keys: Sequence[ChunkKey]) -> list[StoredChunk]:
        prefix: list[StoredChunk] = []
        for key in keys:
            stored = self._chunks.get(key)
            if stored is None:
                break
            prefix.append(stored)
        return prefix

    def _evict_one(self) -> bool:
        for key in self._policy.coldest_first():
            if self._chunks[key].pins == 0:
                self._remove(self._chunks[key])
                self._evicted_chunks += 1
                return True
        return False

    def _remove_all(self) -> int:
        removed = list(self._chunks.values())
        for stored in removed:
            self._remove(stored)
        self._epoch += 1
        return len(removed)

    def _remove(self, stored: StoredChunk) -> None:
        del self._chunks[stored.key]
        self._policy.remove(stored.key)
        stored.is_indexed = False
        self._free_if_unused(stored)

    def _free_if_unused(self, stored: StoredChunk) -> None:
        if stored.pins == 0 and not stored.is_indexed:
            self._pool.free(stored.slot)

    def _give_back(self, reservation: Reservation) -> None:
        reservation.is_open = False
        self._pool.free(reservation.slot)
