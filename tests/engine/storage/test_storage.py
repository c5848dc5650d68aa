import threading
import time
from collections.abc import Iterator

import pytest
import torch

from engine.config import EngineConfig
from engine.device import KVCacheSpec
from engine.storage import (
    POLICIES,
    LeastRecentlyUsed,
    LocalCPUBackend,
    MemoryPool,
    PoolExhausted,
    Reservation,
    StagingArea,
    StorageManager,
    StoredChunk,
    UnknownBackend,
    slot_stride,
)
from engine.storage.policy import FirstInFirstOut, MostRecentlyUsed
from engine.storage.staging import NoStagingMemory
from engine.tokens import ChunkKey
from tests.support.waiting import eventually

SPEC = KVCacheSpec(1, 1, 2, torch.float32, 1, 8, use_mla=True)
STRIDE = slot_stride(SPEC.bytes_per_token)


def backend(slots: int = 2) -> LocalCPUBackend:
    return LocalCPUBackend(pool(slots), SPEC, LeastRecentlyUsed())


def pool(slots: int) -> MemoryPool:
    memory = torch.zeros(slots * STRIDE, dtype=torch.uint8)
    return MemoryPool(memory, SPEC.bytes_per_token, slots)


def manager_of(local_cpu: LocalCPUBackend) -> StorageManager:
    return StorageManager(local_cpu, StagingArea(pool(0), SPEC), [], EngineConfig.load())


def key(number: int) -> ChunkKey:
    return ChunkKey("test", number.to_bytes(2, "big"))


def admit(local_cpu: LocalCPUBackend, number: int) -> StoredChunk:
    reservation = local_cpu.prepare_store(key(number), 1)
    assert isinstance(reservation, Reservation)
    stored = local_cpu.complete_store(reservation)
    assert isinstance(stored, StoredChunk)
    return stored


def test_pool__all_slots_taken__says_so_and_recovers() -> None:
    two = pool(2)
    taken = {two.allocate(), two.allocate()}
    assert taken == {0, 1}
    assert two.used_bytes == two.capacity_bytes == 2 * STRIDE
    assert not two.has_room()
    with pytest.raises(PoolExhausted):
        two.allocate()
    two.free(1)
    assert two.allocate() == 1


def test_pool__slot_freed_twice__is_refused() -> None:
    one = pool(1)
    slot = one.allocate()
    one.free(slot)
    with pytest.raises(ValueError, match="not in use"):
        one.free(slot)
    assert one.num_used == 0


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
    assert local_cpu.usage().used_bytes == STRIDE


def test_clear__chunk_in_use__is_counted_and_its_memory_freed_on_release() -> None:
    local_cpu = backend()
    stored = admit(local_cpu, 1)
    assert local_cpu.clear() == 1
    assert local_cpu.contains([key(1)]) == [False]
    assert local_cpu.usage().used_bytes == STRIDE
    local_cpu.release([stored])
    assert local_cpu.usage().used_bytes == 0


def test_touch__chunks_of_one_request__makes_the_first_the_last_to_go() -> None:
    local_cpu = backend(3)
    stored = [admit(local_cpu, number) for number in (1, 2, 3)]
    local_cpu.touch(stored)
    assert local_cpu.keys() == [key(3), key(2), key(1)]


@pytest.mark.parametrize("policy", [LeastRecentlyUsed, FirstInFirstOut, MostRecentlyUsed])
def test_prepare_store__many_chunks_in_use__are_passed_over_once(
    policy: type[FirstInFirstOut],
) -> None:
    named: list[ChunkKey] = []

    class Watched(policy):
        def coldest_first(self) -> Iterator[ChunkKey]:
            for key in super().coldest_first():
                named.append(key)
                yield key

    local_cpu = LocalCPUBackend(pool(200), SPEC, Watched())
    stored = [admit(local_cpu, number) for number in range(200)]
    coldest = local_cpu.keys()
    in_use = [chunk for chunk in stored if chunk.key in coldest[:150]]
    local_cpu.release([chunk for chunk in stored if chunk not in in_use])
    named.clear()
    for number in range(200, 240):
        local_cpu.release([admit(local_cpu, number)])
    assert len(named) < 150 + 4 * 40
    local_cpu.release(in_use)
    assert local_cpu.contains([chunk.key for chunk in in_use]) == [True] * 150
    # Not in use any more, they go in their turn.
    expected = local_cpu.keys()[0]
    admit(local_cpu, 240)
    assert local_cpu.contains([expected]) == [False]


def test_manager__freeze__reaches_the_backend() -> None:
    manager = manager_of(backend())
    manager.freeze()
    assert manager.frozen
    assert manager.local_cpu.frozen
    manager.unfreeze()
    assert not manager.frozen
    assert not manager.local_cpu.frozen


def test_manager__clear_names_an_unknown_backend__removes_nothing() -> None:
    manager = manager_of(backend())
    manager.local_cpu.release([admit(manager.local_cpu, 1)])
    with pytest.raises(UnknownBackend) as caught:
        manager.clear(["LocalCPUBackend", "FooBackend"])
    assert str(caught.value) == "Backend 'FooBackend' not found. Available: ['LocalCPUBackend']"
    assert manager.usage()["LocalCPUBackend"].chunks == 1
    assert manager.clear(["LocalCPUBackend"]) == {"LocalCPUBackend": 1}


def test_staging__memory_freed_as_the_wait_for_it_ends__is_given() -> None:
    patience_s = 0.05

    class FreedLate(MemoryPool):
        """Tells when it was asked, and frees only after whoever asked has waited."""

        asked = threading.Event()

        def has_room(self) -> bool:
            self.asked.set()
            return super().has_room()

        def free(self, slot: int) -> None:
            began = time.monotonic()
            eventually(lambda: time.monotonic() > began + 2 * patience_s)
            super().free(slot)

    memory = torch.zeros(STRIDE, dtype=torch.uint8)
    area = StagingArea(FreedLate(memory, SPEC.bytes_per_token, 1), SPEC)
    first = area.take(key(1), 1)
    FreedLate.asked.clear()

    def release() -> None:
        assert FreedLate.asked.wait(30)
        area.release(first)

    releasing = threading.Thread(target=release)
    releasing.start()
    second = area.take(key(2), 1, patience_s)
    releasing.join()
    assert second.slot == first.slot
    with pytest.raises(NoStagingMemory):
        area.take(key(3), 1, 0.01)


def test_policies__lru__is_the_default_of_the_configuration() -> None:
    assert POLICIES["LRU"] is LeastRecentlyUsed
