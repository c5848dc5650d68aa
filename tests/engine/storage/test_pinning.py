"""Pinned memory: CUDA's, where there is a device; what is asked of it, everywhere."""

from contextlib import nullcontext

import pytest
import torch

from engine.storage import HostMemory, MemoryPool, Pages
from engine.storage.pinning import CudaPinning, NoPinning, PinningFailed, pinning_for

SLOT = 40 << 20


class Runtime:
    """CUDA's answers, and the device that was current at each call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        self.calls: list[tuple[object, ...]] = []
        self._code = code
        self._current: object = None
        monkeypatch.setattr(torch.cuda, "device", self._select)
        monkeypatch.setattr(torch.cuda, "cudart", lambda: self)

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802
        self.calls.append(("register", self._current, address, size, flags))
        return self._code

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        self.calls.append(("unregister", self._current, address))
        return 0

    def _select(self, device: torch.device) -> "nullcontext[None]":
        self._current = device
        return nullcontext()


def test_pin__of_the_second_device__asks_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(monkeypatch, code=0)
    second = torch.device("cuda", 1)
    part = torch.zeros(4096, dtype=torch.uint8)
    pinning = pinning_for(second)
    pinning.pin(part)
    pinning.unpin(part.data_ptr())
    assert runtime.calls == [
        ("register", second, part.data_ptr(), 4096, 0),
        ("unregister", second, part.data_ptr()),
    ]


def test_pin__cuda_refuses__says_what_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    Runtime(monkeypatch, code=2)
    part = torch.zeros(4096, dtype=torch.uint8)
    with pytest.raises(PinningFailed, match=r"4096 bytes cannot be pinned: CUDA error 2"):
        CudaPinning(torch.device("cuda", 0)).pin(part)


def test_pinning__of_the_cpu__is_none() -> None:
    assert isinstance(pinning_for(torch.device("cpu")), NoPinning)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory__on_cuda__copies_of_every_slot_work_and_it_can_be_had_again() -> None:
    device = torch.device("cuda", 0)
    for _ in range(2):
        memory = HostMemory(4 * SLOT, SLOT, pinning_for(device), Pages.NORMAL)
        memory.grow(1)
        memory.grow(4 * SLOT)
        pool = MemoryPool(memory.bytes, SLOT, 4)
        for number in range(4):
            slot = pool.memory(pool.allocate())
            assert slot.is_pinned()
            slot.copy_(torch.full((SLOT,), number, dtype=torch.uint8, device=device))
            assert torch.equal(slot.to(device).cpu(), slot)
