"""Host memory and the pools that are cut from it."""

import logging
import threading
from pathlib import Path

import pytest
import torch

from engine.storage import GrowingPool, HostMemory, MemoryPool, MemoryUnavailable, Pages
from engine.storage.memory import PAGE_BYTES
from engine.storage.pinning import NoPinning, PinningFailed
from tests.support.waiting import eventually

SLOT = 3 * PAGE_BYTES


def resident_bytes() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def test_memory__grown__is_backed_from_then_on() -> None:
    size = 64 << 20
    memory = HostMemory(size, PAGE_BYTES, NoPinning(), Pages.NORMAL)
    before = resident_bytes()
    memory.grow(size // 2)
    assert memory.ready == size // 2
    assert size // 2 * 0.9 < resident_bytes() - before < size // 2 * 1.5
    memory.grow(size * 2)
    assert memory.ready == size
    assert memory.bytes.numel() == size


def test_memory__more_than_there_is__is_refused() -> None:
    with pytest.raises(MemoryUnavailable):
        HostMemory(1 << 60, PAGE_BYTES, NoPinning(), Pages.NORMAL)


def test_memory__address_limit_reached_while_growing__keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = HostMemory(4 * PAGE_BYTES, PAGE_BYTES, NoPinning(), Pages.NORMAL)
    memory.grow(PAGE_BYTES)

    def refuse(part: torch.Tensor) -> None:
        raise MemoryUnavailable("no more")

    monkeypatch.setattr("engine.storage.memory._populate", refuse)
    with pytest.raises(MemoryUnavailable):
        memory.grow(4 * PAGE_BYTES)
    assert memory.ready == PAGE_BYTES


class Pinned(NoPinning):
    """Notes what a device would be told, and refuses what CUDA refuses."""

    def __init__(self) -> None:
        self.parts: dict[int, int] = {}
        """Length by address."""
        self.room = 1 << 40

    def pin(self, part: torch.Tensor) -> None:
        begin, end = part.data_ptr(), part.data_ptr() + part.numel()
        if begin % PAGE_BYTES:
            raise PinningFailed("no page begins there")
        if any(begin < old + length and old < end for old, length in self.parts.items()):
            raise PinningFailed("already pinned")
        if part.numel() + sum(self.parts.values()) > self.room:
            raise PinningFailed("no more")
        self.parts[begin] = part.numel()

    def unpin(self, address: int) -> None:
        del self.parts[address]

    def holds(self, slot: torch.Tensor) -> bool:
        """Whether one part has all of it."""
        begin, end = slot.data_ptr(), slot.data_ptr() + slot.numel()
        return any(old <= begin and end <= old + length for old, length in self.parts.items())


@pytest.mark.parametrize("slot_bytes", [SLOT, 48 << 20, 80 << 20])
def test_memory__pinned_bit_by_bit__no_slot_lies_in_two_parts(slot_bytes: int) -> None:
    pinned = Pinned()
    memory = HostMemory(5 * slot_bytes, slot_bytes, pinned, Pages.NORMAL)
    for ready in (1, slot_bytes + 1, 5 * slot_bytes):
        memory.grow(ready)
    pool = MemoryPool(memory.bytes, slot_bytes, 5)
    assert all(pinned.holds(pool.memory(pool.allocate())) for _ in range(5))
    assert sum(pinned.parts.values()) == 5 * slot_bytes


def test_memory__last_view_has_gone__is_pinned_no_longer() -> None:
    pinned = Pinned()
    memory = HostMemory(4 * SLOT, SLOT, pinned, Pages.NORMAL)
    memory.grow(2 * SLOT)
    view = memory.bytes[SLOT:]
    del memory
    assert sum(pinned.parts.values()) == 2 * SLOT
    view.fill_(1)
    del view
    assert pinned.parts == {}


def test_memory__device_takes_no_more__keeps_what_it_has() -> None:
    pinned = Pinned()
    pinned.room = 3 * SLOT
    memory = HostMemory(4 * SLOT, SLOT, pinned, Pages.NORMAL)
    memory.grow(2 * SLOT)
    with pytest.raises(MemoryUnavailable, match="no more"):
        memory.grow(4 * SLOT)
    assert memory.ready == 2 * SLOT


@pytest.mark.parametrize("unit", [0, PAGE_BYTES + 1])
def test_memory__unit_is_no_whole_pages__is_refused(unit: int) -> None:
    with pytest.raises(ValueError, match="whole pages"):
        HostMemory(4 * SLOT, unit, NoPinning(), Pages.NORMAL)


def test_memory__huge_pages_asked_for__lies_in_a_mapping_that_may_have_them() -> None:
    memory = HostMemory(8 << 20, PAGE_BYTES, NoPinning(), Pages.HUGE)
    memory.grow(8 << 20)
    address = memory.bytes.data_ptr()
    flags = mapping_flags(address)
    assert "ht" in flags or "hg" in flags
    assert not {"ht", "hg"} & set(
        mapping_flags(HostMemory(8 << 20, PAGE_BYTES, NoPinning(), Pages.NORMAL).bytes.data_ptr())
    )


def mapping_flags(address: int) -> list[str]:
    """VmFlags of the mapping that holds the address (proc_pid_smaps(5))."""
    inside = False
    with Path("/proc/self/smaps").open() as file:
        for line in file:
            head = line.split()[0]
            if "-" in head and not head.endswith(":"):
                start, end = (int(number, 16) for number in head.split("-"))
                inside = start <= address < end
            elif inside and head == "VmFlags:":
                return line.split()[1:]
    raise AssertionError("the address is not mapped")


def test_slots__any_size__begin_at_page_borders_and_never_overlap() -> None:
    memory = torch.zeros(4 * 2 * PAGE_BYTES, dtype=torch.uint8)
    pool = MemoryPool(memory, PAGE_BYTES + 1, 4)
    starts = [pool.memory(pool.allocate()).data_ptr() - memory.data_ptr() for _ in range(4)]
    assert sorted(starts) == [0, 2 * PAGE_BYTES, 4 * PAGE_BYTES, 6 * PAGE_BYTES]


def test_growing_pool__in_use_above_the_trigger__grows_ahead_to_its_full_size() -> None:
    memory = HostMemory(10 * SLOT, SLOT, NoPinning(), Pages.NORMAL)
    memory.grow(2 * SLOT)
    pool = GrowingPool(memory, SLOT, 10, trigger=lambda: 0.5, step=lambda: 0.2)
    assert memory.ready == 2 * SLOT
    taken = []
    for _ in range(10):
        eventually(pool.has_room)
        taken.append(pool.allocate())
    assert sorted(taken) == list(range(10))
    assert not pool.has_room()
    assert pool.used_bytes == pool.capacity_bytes == 10 * SLOT
    pool.free(7)
    assert pool.allocate() == 7


def test_growing_pool__little_in_use__stays_small() -> None:
    memory = HostMemory(10 * SLOT, SLOT, NoPinning(), Pages.NORMAL)
    memory.grow(4 * SLOT)
    pool = GrowingPool(memory, SLOT, 10, trigger=lambda: 0.9, step=lambda: 0.5)
    for _ in range(20):
        assert pool.has_room()
        pool.free(pool.allocate())
    assert memory.ready == 4 * SLOT


def test_growing_pool__system_refuses__stays_as_it_is_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = HostMemory(10 * SLOT, SLOT, NoPinning(), Pages.NORMAL)
    memory.grow(SLOT)
    pool = GrowingPool(memory, SLOT, 10, trigger=lambda: 0.0, step=lambda: 0.5)
    attempts: list[int] = []

    def refuse(ready: int) -> None:
        attempts.append(ready)
        raise MemoryUnavailable("no more")

    monkeypatch.setattr(memory, "grow", refuse)
    with caplog.at_level(logging.WARNING):
        assert pool.has_room()
        pool.allocate()
        eventually(lambda: bool(caplog.records))
        for _ in range(5):
            assert not pool.has_room()
    assert len(attempts) == len(caplog.records) == 1


def test_growing_pool__no_thread_can_be_had__stays_as_it_is_and_grows_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = HostMemory(2 * SLOT, SLOT, NoPinning(), Pages.NORMAL)
    memory.grow(SLOT)
    pool = GrowingPool(memory, SLOT, 2, trigger=lambda: 0.0, step=lambda: 0.5)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", refuse)
        assert pool.has_room()
        pool.allocate()
        assert not pool.has_room()
    eventually(pool.has_room)
