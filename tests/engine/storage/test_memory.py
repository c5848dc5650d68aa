"""Host memory and the pools that are cut from it."""

import logging
import threading
from pathlib import Path

import pytest
import torch

from engine.storage import GrowingPool, HostMemory, MemoryPool, MemoryUnavailable, Pages
from engine.storage.memory import PAGE_BYTES
from tests.support.waiting import eventually

CPU = torch.device("cpu")
SLOT = 3 * PAGE_BYTES


def resident_bytes() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def test_memory__grown__is_backed_from_then_on() -> None:
    size = 64 << 20
    memory = HostMemory(size, CPU, Pages.NORMAL)
    before = resident_bytes()
    memory.grow(size // 2)
    assert memory.ready == size // 2
    assert size // 2 * 0.9 < resident_bytes() - before < size // 2 * 1.5
    memory.grow(size * 2)
    assert memory.ready == size
    assert memory.bytes.numel() == size


def test_memory__more_than_there_is__is_refused() -> None:
    with pytest.raises(MemoryUnavailable):
        HostMemory(1 << 60, CPU, Pages.NORMAL)


def test_memory__address_limit_reached_while_growing__keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = HostMemory(4 * PAGE_BYTES, CPU, Pages.NORMAL)
    memory.grow(PAGE_BYTES)

    def refuse(part: torch.Tensor) -> None:
        raise MemoryUnavailable("no more")

    monkeypatch.setattr("engine.storage.memory._populate", refuse)
    with pytest.raises(MemoryUnavailable):
        memory.grow(4 * PAGE_BYTES)
    assert memory.ready == PAGE_BYTES


def test_memory__huge_pages_asked_for__lies_in_a_mapping_that_may_have_them() -> None:
    memory = HostMemory(8 << 20, CPU, Pages.HUGE)
    memory.grow(8 << 20)
    address = memory.bytes.data_ptr()
    flags = mapping_flags(address)
    assert "ht" in flags or "hg" in flags
    assert not {"ht", "hg"} & set(
        mapping_flags(HostMemory(8 << 20, CPU, Pages.NORMAL).bytes.data_ptr())
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
    memory = HostMemory(10 * SLOT, CPU, Pages.NORMAL)
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
    memory = HostMemory(10 * SLOT, CPU, Pages.NORMAL)
    memory.grow(4 * SLOT)
    pool = GrowingPool(memory, SLOT, 10, trigger=lambda: 0.9, step=lambda: 0.5)
    for _ in range(20):
        assert pool.has_room()
        pool.free(pool.allocate())
    assert memory.ready == 4 * SLOT


def test_growing_pool__system_refuses__stays_as_it_is_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = HostMemory(10 * SLOT, CPU, Pages.NORMAL)
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
    memory = HostMemory(2 * SLOT, CPU, Pages.NORMAL)
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
