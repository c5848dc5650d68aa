import pytest
import torch

from engine.device import KVCacheSpec
from engine.storage import (
    POLICIES,
    LeastRecentlyUsed,
    LocalCPUBackend,
    MemoryPool,
    PoolExhausted,
    Reservation,
    StorageManager,
    StoredChunk,
    UnknownBackend,
    allocate_memory,
)
from engine.tokens import ChunkKey

SPEC = KVCacheSpec(1, 1, 2, torch.float32, 1, 8, use_mla=True)


def backend(slots: int = 2) -> LocalCPUBackend:
    memory = allocate_memory(slots, SPEC.bytes_per_token, torch.device("cpu"))
    return LocalCPUBackend(MemoryPool(memory), SPEC, LeastRecentlyUsed())


def key(number: int) -> ChunkKey:
    return ChunkKey("test", bytes([number]))


def admit(local_cpu: LocalCPUBackend, number: int) -> StoredChunk:
    reservation = local_cpu.prepare_store(key(number), 1)
    assert isinstance(reservation, Reservation)
    stored = local_cpu.complete_store(reservation)
    assert isinstance(stored, StoredChunk)
    return stored


def test_pool__all_slots_taken__says_so_and_recovers() -> None:
    pool = MemoryPool(torch.zeros((2, 8), dtype=torch.uint8))
    taken = {pool.allocate(), pool.allocate()}
    assert taken == {0, 1}
    assert pool.used_bytes == pool.capacity_bytes == 16
    with pytest.raises(PoolExhausted):
        pool.allocate()
    pool.free(1)
    assert pool.allocate() == 1


def test_pool__slot_freed_twice__is_refused() -> None:
    pool = MemoryPool(torch.zeros((1, 8), dtype=torch.uint8))
    slot = pool.allocate()
    pool.free(slot)
    with pytest.raises(ValueError, match="not in use"):
        pool.free(slot)
    assert pool.num_free == 1


def test_release__twice__is_refused() -> None:
    local_cpu = backend()
    stored = admit(local_cpu, 1)
    local_cpu.release([stored])
    with pytest.raises(ValueError, match="not pinned"):
        local_cpu.release([stored])


def test_complete_store__two_stores_of_one_key__keeps_the_first() -> None:
    local_cpu = backend()
    first = local_cpu.prepare_store(key(1), 1)
    second = local_cpu.prepare_store(key(1), 1)
    assert isinstance(first, Reservation)
    assert isinstance(second, Reservation)
    winner = local_cpu.complete_store(first)
    assert local_cpu.complete_store(second) is winner
    assert local_cpu.usage().used_bytes == SPEC.bytes_per_token


def test_clear__chunk_in_use__is_counted_and_its_memory_freed_on_release() -> None:
    local_cpu = backend()
    stored = admit(local_cpu, 1)
    assert local_cpu.clear() == 1
    assert local_cpu.count_prefix([key(1)]) == 0
    assert local_cpu.usage().used_bytes == SPEC.bytes_per_token
    local_cpu.release([stored])
    assert local_cpu.usage().used_bytes == 0


def test_touch__chunks_of_one_request__makes_the_first_the_last_to_go() -> None:
    local_cpu = backend(3)
    stored = [admit(local_cpu, number) for number in (1, 2, 3)]
    local_cpu.touch(stored)
    assert local_cpu.keys() == [key(3), key(2), key(1)]


def test_manager__freeze__reaches_the_backend() -> None:
    manager = StorageManager(backend())
    manager.freeze()
    assert manager.frozen
    assert manager.local_cpu.frozen
    manager.unfreeze()
    assert not manager.frozen
    assert not manager.local_cpu.frozen


def test_manager__clear_names_an_unknown_backend__removes_nothing() -> None:
    manager = StorageManager(backend())
    manager.local_cpu.release([admit(manager.local_cpu, 1)])
    with pytest.raises(UnknownBackend) as caught:
        manager.clear(["LocalCPUBackend", "FooBackend"])
    assert str(caught.value) == "Backend 'FooBackend' not found. Available: ['LocalCPUBackend']"
    assert manager.usage()["LocalCPUBackend"].chunks == 1
    assert manager.clear(["LocalCPUBackend"]) == {"LocalCPUBackend": 1}


def test_policies__lru__is_the_default_of_the_configuration() -> None:
    assert POLICIES["LRU"] is LeastRecentlyUsed
