"""Where chunks are kept: memory, eviction policies, backends, and their manager."""

from engine.storage.backend import ChunkBuffer, Lease, SlowBackend, TierState
from engine.storage.breaker import BreakerState, CircuitBreaker
from engine.storage.chunk import BackendUsage, Refusal, Reservation, StoredChunk
from engine.storage.connectors import InvalidRemoteURL
from engine.storage.format import ChunkLayout
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.manager import StorageManager
from engine.storage.memory import HostMemory, MemoryUnavailable, Pages
from engine.storage.modes import UnknownBackend
from engine.storage.policy import POLICIES, EvictionPolicy, LeastRecentlyUsed
from engine.storage.pool import GrowingPool, MemoryPool, PoolExhausted, slot_stride
from engine.storage.staging import StagingArea
from engine.storage.storing import StoreOutcome
from engine.storage.tally import Count, Drop, Fault, Tally, TallySnapshot

__all__ = [
    "POLICIES",
    "BackendUsage",
    "BreakerState",
    "ChunkBuffer",
    "ChunkLayout",
    "CircuitBreaker",
    "Count",
    "Drop",
    "EvictionPolicy",
    "Fault",
    "GrowingPool",
    "HostMemory",
    "InvalidRemoteURL",
    "Lease",
    "LeastRecentlyUsed",
    "LocalCPUBackend",
    "MemoryPool",
    "MemoryUnavailable",
    "Pages",
    "PoolExhausted",
    "Refusal",
    "Reservation",
    "SlowBackend",
    "StagingArea",
    "StorageManager",
    "StoreOutcome",
    "StoredChunk",
    "Tally",
    "TallySnapshot",
    "TierState",
    "UnknownBackend",
    "slot_stride",
]
