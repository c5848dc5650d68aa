"""Page-locked memory, which a device copies from and to at bus speed."""

from typing import Protocol

import torch


class PinningFailed(OSError):
    """The device does not take the memory."""


class Pinning(Protocol):
    """What a device needs of host memory that it copies from and to."""

    def pin(self, part: torch.Tensor) -> None:
        """Whole pages, uint8 [bytes], of which none is pinned. Raises PinningFailed."""

    def unpin(self, address: int) -> None:
        """The part that was pinned and begins at that address."""


class NoPinning:
    """For KV caches in host memory."""

    def pin(self, part: torch.Tensor) -> None:
        """Nothing to do."""

    def unpin(self, address: int) -> None:
        """Nothing to do."""


class CudaPinning:
    """cudaHostRegister, because torch's own pinned memory is rounded up to a power of
    two and cannot grow."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def pin(self, part: torch.Tensor) -> None:
        # A thread's device is the first one until it says otherwise: a call for it would
        # set it up, and take memory there, beside the one that this process is for.
        with torch.cuda.device(self._device):
            runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
            code = int(runtime.cudaHostRegister(part.data_ptr(), part.numel(), 0))
        if code != 0:
            raise PinningFailed(f"{part.numel()} bytes cannot be pinned: CUDA error {code}")

    def unpin(self, address: int) -> None:
        with torch.cuda.device(self._device):
            torch.cuda.cudart().cudaHostUnregister(address)  # type: ignore[no-untyped-call]


def pinning_for(device: torch.device) -> Pinning:
    """The pinning of memory that the device copies from and to."""
    return CudaPinning(device) if device.type == "cuda" else NoPinning()
