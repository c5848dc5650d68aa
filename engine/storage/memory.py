"""Host memory for chunks: page-aligned, pinned for CUDA, in huge pages on request,
taken whole at the start or bit by bit."""

import ctypes
import logging
import mmap
from enum import StrEnum

import numpy as np
import torch

logger = logging.getLogger(__name__)

PAGE_BYTES = 4096
_HUGE_PAGE_BYTES = 2 << 20
_MAP_HUGETLB = 0x40000
_MADV_POPULATE_WRITE = 23
_GROWN_AT_ONCE = 64 << 20


class MemoryUnavailable(OSError):
    """The system does not give the memory."""


class Pages(StrEnum):
    """Pages that memory is asked for in."""

    NORMAL = "normal"
    HUGE = "huge"
    """Reserved huge pages (vm.nr_hugepages) if enough are free, else transparent
    ones."""


class HostMemory:
    """`size` bytes of address space, of which the first `ready` are backed by memory
    that is there for good: touching them costs no page fault, and copies to and
    from CUDA run at bus speed.

    `grow` is for one thread at a time. The memory goes back to the system with the
    object.
    """

    def __init__(self, size: int, device: torch.device, pages: Pages) -> None:
        """Raises MemoryUnavailable."""
        if size < 1:
            raise ValueError(f"Memory must have at least one byte, not {size}.")
        self.size = size
        self._mapping = _map(size, pages)
        whole: torch.Tensor = torch.frombuffer(self._mapping, dtype=torch.uint8)
        self.bytes = whole[:size]
        """uint8 [size]."""
        self._pin = _pin if device.type == "cuda" else _nothing
        self._ready = 0

    @property
    def ready(self) -> int:
        """Bytes from the start that are backed by memory."""
        return self._ready

    def grow(self, ready: int) -> None:
        """Back at least the first `ready` bytes. Raises MemoryUnavailable; what was
        backed stays so."""
        goal = min(self.size, ready)
        while self._ready < goal:
            end = min(_round_up(goal, PAGE_BYTES), self._ready + _GROWN_AT_ONCE, self.size)
            start = self._ready // PAGE_BYTES * PAGE_BYTES
            part = self.bytes[start:end]
            _populate(part)
            self._pin(part)
            self._ready = end


def _map(size: int, pages: Pages) -> mmap.mmap:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        if pages is Pages.NORMAL:
            return mmap.mmap(-1, _round_up(size, PAGE_BYTES), flags)
        rounded = _round_up(size, _HUGE_PAGE_BYTES)
        try:
            return mmap.mmap(-1, rounded, flags | _MAP_HUGETLB)
        except OSError:
            logger.info("Not enough huge pages are reserved; transparent ones are asked for.")
        mapping = mmap.mmap(-1, rounded, flags)
        mapping.madvise(mmap.MADV_HUGEPAGE)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryUnavailable(f"{size} bytes cannot be had: {error}") from error
    return mapping


def _populate(part: torch.Tensor) -> None:
    """Back the pages now, and fail now if there are none: writing to a page that the
    system cannot give would kill the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    address, length = ctypes.c_void_p(part.data_ptr()), ctypes.c_size_t(part.numel())
    if libc.madvise(address, length, _MADV_POPULATE_WRITE) == 0:
        return
    error = ctypes.get_errno()
    # Before Linux 5.14 there is no such advice.
    if error in (_EINVAL, _ENOSYS):
        part.numpy()[::PAGE_BYTES] = np.uint8(0)
        return
    raise MemoryUnavailable(error, f"{part.numel()} bytes of memory cannot be had")


_EINVAL = 22
_ENOSYS = 38


def _pin(part: torch.Tensor) -> None:
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    code = int(runtime.cudaHostRegister(part.data_ptr(), part.numel(), 0))
    if code != 0:
        raise MemoryUnavailable(f"{part.numel()} bytes cannot be pinned: CUDA error {code}")


def _nothing(part: torch.Tensor) -> None:
    """Memory of the CPU needs no pinning."""


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
