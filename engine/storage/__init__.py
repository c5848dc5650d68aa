"""Where chunks are kept: memory pool, eviction policies, backends."""

from engine.storage.chunk import BackendUsage, Refusal, Reservation, StoredChunk
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.manager import StorageManager, UnknownBackend
from engine.storage.policy import POLICIES, EvictionPolicy, LeastRecentlyUsed
from engine.storage.pool import MemoryPool, PoolExhausted, allocate_memory

__all__ = [
    "POLICIES",
    "BackendUsage",
    "EvictionPolicy",
    "LeastRecentlyUsed",
    "LocalCPUBackend",
    "MemoryPool",
    "PoolExhausted",
    "Refusal",
    "Reservation",
    "StorageManager",
    "StoredChunk",
    "UnknownBackend",
    "allocate_memory",
]
