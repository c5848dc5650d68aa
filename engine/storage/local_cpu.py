"""The hot cache: chunks in the memory of this process."""

import threading
import time
from collections.abc import Callable, Sequence

import torch

from engine.device import KVCacheSpec
from engine.storage.chunk import BackendUsage, Refusal, Reservation, StoredChunk
from engine.storage.eviction import EvictionOrder
from engine.storage.policy import EvictionPolicy
from engine.storage.pool import MemoryPool
from engine.storage.tally import Tally
from engine.tokens import ChunkKey

_MODES = (Refusal.FROZEN, Refusal.HOT_CACHE_OFF, Refusal.BYPASSED)


class LocalCPUBackend:
    """Chunks in CPU memory, found by key, evicted by a policy.

    Bytes move outside this class and outside its lock: prepare_store hands out
    memory, the caller fills it, complete_store makes it a chunk or refuses; pin
    keeps chunks where they are, the caller reads them, release lets go. A pinned
    chunk is never evicted.

    While frozen or bypassed nothing changes: complete_store decides under the
    same lock that freeze takes, so no chunk is admitted after freeze has returned,
    and touch has no effect.

    Thread-safe; no call waits for a copy.
    """

    name = "LocalCPUBackend"

    def __init__(
        self,
        pool: MemoryPool,
        spec: KVCacheSpec,
        policy: EvictionPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The hot cache is on at first. `pool` slots hold one full chunk each."""
        self.tally = Tally()
        self._pool = pool
        self._spec = spec
        self._order = EvictionOrder(policy)
        self._clock = clock
        self._chunks: dict[ChunkKey, StoredChunk] = {}
        self._modes: set[Refusal] = set()
        self._epoch = 0
        self._lock = threading.Lock()

    @property
    def frozen(self) -> bool:
        return Refusal.FROZEN in self._modes

    @property
    def hot_cache_enabled(self) -> bool:
        return Refusal.HOT_CACHE_OFF not in self._modes

    @property
    def closed_by(self) -> list[Refusal]:
        """The modes that keep chunks out; none of them: chunks are taken."""
        return [mode for mode in _MODES if mode in self._modes]

    @property
    def chunk_tokens(self) -> int:
        """Tokens of the longest chunk that a memory slot holds."""
        return self._pool.slot_bytes // self._spec.bytes_per_token

    @property
    def most_chunks(self) -> int:
        """Chunks that memory has room for."""
        return self._pool.num_slots

    def usage(self) -> BackendUsage:
        with self._lock:
            return BackendUsage(self._pool.capacity_bytes, self._pool.used_bytes, len(self._chunks))

    def keys(self) -> list[ChunkKey]:
        """All keys, in the order in which they would be evicted."""
        with self._lock:
            return self._order.keys()

    def contains(self, keys: Sequence[ChunkKey]) -> list[bool]:
        """Which keys are stored; changes nothing."""
        with self._lock:
            return [key in self._chunks for key in keys]

    def chunk(self, stored: StoredChunk) -> torch.Tensor:
        """A pinned chunk's KV, shaped as KVCacheSpec.chunk_shape says."""
        return self._spec.chunk_view(self._pool.memory(stored.slot), stored.num_tokens)

    def prepare_store(self, key: ChunkKey, num_tokens: int) -> Reservation | StoredChunk | Refusal:
        """Memory for a chunk, evicting what the policy says if none is free; or the
        chunk, pinned, if it is stored already; or why it is not admitted. The
        caller completes or aborts a Reservation and releases a StoredChunk."""
        return self._prepare(key, num_tokens, self._evict_one)

    def prepare_store_without_evicting(
        self, key: ChunkKey, num_tokens: int
    ) -> Reservation | StoredChunk | Refusal:
        """As prepare_store, but only where memory is free."""
        return self._prepare(key, num_tokens, _evict_none)

    def complete_store(self, reservation: Reservation) -> StoredChunk | Refusal:
        """Make the filled memory a chunk, and pin it for the caller. If another
        caller has stored the same key meanwhile, that chunk is pinned and returned
        and this memory freed. Refuses after a clear and while a mode keeps chunks
        out; the reservation then stays the caller's, to be aborted."""
        with self._lock:
            if not reservation.is_open:
                raise ValueError("The reservation was completed or aborted before.")
            refusal = self._refusal()
            if refusal is None and reservation.epoch != self._epoch:
                refusal = Refusal.CLEARED
            if refusal is not None:
                return refusal
            reservation.is_open = False
            stored = self._chunks.get(reservation.key)
            if stored is not None:
                self._pool.free(reservation.slot)
                stored.pins += 1
                return stored
            admitted = StoredChunk(
                reservation.key,
                reservation.num_tokens,
                reservation.slot,
                self._clock(),
                pins=1,
            )
            self._chunks[admitted.key] = admitted
            self._order.insert(admitted.key)
            return admitted

    def abort_store(self, reservation: Reservation) -> None:
        """Free the memory of a reservation; no effect on one that was completed."""
        with self._lock:
            if reservation.is_open:
                reservation.is_open = False
                self._pool.free(reservation.slot)

    def pin(self, keys: Sequence[ChunkKey]) -> dict[ChunkKey, StoredChunk]:
        """Those of the chunks that are stored, pinned. The caller releases them."""
        with self._lock:
            found = {key: self._chunks[key] for key in keys if key in self._chunks}
            for stored in found.values():
                stored.pins += 1
            return found

    def pin_again(self, stored: StoredChunk) -> None:
        """One more pin on a chunk that the caller has pinned."""
        with self._lock:
            if stored.pins == 0:
                raise ValueError("The chunk is not pinned, so it may be gone.")
            stored.pins += 1

    def touch(self, used: Sequence[StoredChunk]) -> None:
        """Note that the chunks of one request, in the order of its tokens, were
        used. The first becomes the most recent: a later chunk is worthless without
        those before it, so it is evicted first. No effect while frozen or
        bypassed."""
        with self._lock:
            if self._modes & {Refusal.FROZEN, Refusal.BYPASSED}:
                return
            for stored in reversed(used):
                if stored.is_indexed:
                    self._order.touch(stored.key)

    def release(self, pinned: Sequence[StoredChunk]) -> None:
        """Unpin chunks. One that was cleared while it was pinned frees its memory."""
        with self._lock:
            for stored in pinned:
                if stored.pins == 0:
                    raise ValueError("The chunk is not pinned; release each pin once.")
                stored.pins -= 1
                if stored.pins > 0:
                    continue
                if stored.is_indexed:
                    self._order.unused(stored.key)
                else:
                    self._pool.free(stored.slot)

    def clear(self) -> int:
        """Remove all chunks and return how many. Chunks in use leave the index now
        and their memory when they are released. A store in flight is refused."""
        with self._lock:
            return self._remove_all()

    def freeze(self) -> None:
        """From the return of this call on nothing is admitted, evicted or reordered."""
        with self._lock:
            self._modes.add(Refusal.FROZEN)

    def unfreeze(self) -> None:
        with self._lock:
            self._modes.discard(Refusal.FROZEN)

    def bypass(self) -> None:
        """From the return of this call on nothing is admitted, evicted or reordered."""
        with self._lock:
            self._modes.add(Refusal.BYPASSED)

    def stop_bypass(self) -> None:
        with self._lock:
            self._modes.discard(Refusal.BYPASSED)

    def enable_hot_cache(self) -> None:
        with self._lock:
            self._modes.discard(Refusal.HOT_CACHE_OFF)

    def disable_hot_cache(self) -> None:
        """Remove all chunks and admit none, until the hot cache is enabled."""
        with self._lock:
            self._modes.add(Refusal.HOT_CACHE_OFF)
            self._remove_all()

    def _prepare(
        self, key: ChunkKey, num_tokens: int, evict: Callable[[], bool]
    ) -> Reservation | StoredChunk | Refusal:
        with self._lock:
            refusal = self._refusal()
            if refusal is not None:
                return refusal
            stored = self._chunks.get(key)
            if stored is not None:
                stored.pins += 1
                return stored
            if not self._pool.has_room() and not evict():
                return Refusal.FULL
            slot = self._pool.allocate()
            epoch = self._epoch
        chunk = self._spec.chunk_view(self._pool.memory(slot), num_tokens)
        return Reservation(key, num_tokens, chunk, slot, epoch)

    def _refusal(self) -> Refusal | None:
        return next((mode for mode in _MODES if mode in self._modes), None)

    def _evict_one(self) -> bool:
        key = self._order.coldest(self._is_pinned)
        if key is None:
            return False
        stored = self._chunks[key]
        self._remove(stored)
        self.tally.evicted(self._clock() - stored.stored_at)
        return True

    def _is_pinned(self, key: ChunkKey) -> bool:
        return self._chunks[key].pins > 0

    def _remove_all(self) -> int:
        removed = list(self._chunks.values())
        for stored in removed:
            self._remove(stored)
        self._epoch += 1
        return len(removed)

    def _remove(self, stored: StoredChunk) -> None:
        del self._chunks[stored.key]
        self._order.remove(stored.key)
        stored.is_indexed = False
        if stored.pins == 0:
            self._pool.free(stored.slot)


def _evict_none() -> bool:
    return False
