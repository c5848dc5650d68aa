"""Memory for chunks on their way past the hot cache."""

import threading

import torch

from engine.device import KVCacheSpec
from engine.storage.pool import MemoryPool
from engine.tokens import ChunkKey


class NoStagingMemory(Exception):
    """All staging memory is in use."""


class StagedChunk:
    """Memory of one chunk outside the hot cache, counted references and all.

    `chunk` is a view, shaped as KVCacheSpec.chunk_shape says.
    """

    __slots__ = ("chunk", "key", "num_tokens", "references", "slot")

    def __init__(self, key: ChunkKey, num_tokens: int, chunk: torch.Tensor, slot: int) -> None:
        self.key = key
        self.num_tokens = num_tokens
        self.chunk = chunk
        self.slot = slot
        self.references = 1


class StagingArea:
    """A few slots apart from the hot cache: chunks pass through them between the
    device and the slower tiers while the hot cache is off, bypassed, or full of
    chunks in use. Thread-safe."""

    def __init__(self, pool: MemoryPool, spec: KVCacheSpec) -> None:
        self._pool = pool
        self.spec = spec
        self._freed = threading.Condition()

    @classmethod
    def without_memory(cls, spec: KVCacheSpec) -> "StagingArea":
        """An area that never has room."""
        return cls(MemoryPool(torch.empty(0, dtype=torch.uint8), spec.bytes_per_token, 0), spec)

    @property
    def capacity_bytes(self) -> int:
        return self._pool.capacity_bytes

    @property
    def used_bytes(self) -> int:
        return self._pool.used_bytes

    def take(self, key: ChunkKey, num_tokens: int, timeout: float = 0.0) -> StagedChunk:
        """Memory with one reference, waiting up to `timeout` seconds for some to be
        free. Raises NoStagingMemory."""
        with self._freed:
            # Looks again when the time is up: what was freed just then woke nobody else.
            if not self._freed.wait_for(self._pool.has_room, timeout):
                raise NoStagingMemory("All staging memory is in use.")
            slot = self._pool.allocate()
        chunk = self.spec.chunk_view(self._pool.memory(slot), num_tokens)
        return StagedChunk(key, num_tokens, chunk, slot)

    def retain(self, staged: StagedChunk) -> None:
        """One more reference to memory that the caller refers to."""
        with self._freed:
            if staged.references == 0:
                raise ValueError("The staged chunk was released.")
            staged.references += 1

    def release(self, staged: StagedChunk) -> None:
        """Give a reference back; the last one frees the memory."""
        with self._freed:
            if staged.references == 0:
                raise ValueError("The staged chunk was released before.")
            staged.references -= 1
            if staged.references == 0:
                self._pool.free(staged.slot)
                self._freed.notify()
