"""Host memory for chunks: page-aligned, pinned for a device, in huge pages on request,
taken whole at the start or bit by bit."""

import ctypes
import logging
import mmap
import sys
from enum import StrEnum

import numpy as np
import torch

from engine.storage.pinning import NoPinning, Pinning, PinningFailed

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
    from the device run at bus speed.

    `grow` is for one thread at a time. The memory goes back to the system with the
    last view of `bytes`.
    """

    def __init__(self, size: int, unit: int, pinning: Pinning, pages: Pages) -> None:
        """`unit` are whole pages: memory is backed and pinned by the unit, because a copy
        within one must find it pinned as a whole (CUDA driver API, cuMemcpy). Raises
        MemoryUnavailable, and ValueError for sizes that cannot be."""
        if size < 1:
            raise ValueError(f"Memory must have at least one byte, not {size}.")
        if unit < 1 or unit % PAGE_BYTES:
            raise ValueError(f"A unit must be whole pages of {PAGE_BYTES} bytes, not {unit}.")
        self.size = size
        self._unit = unit
        self._mapping = _map(size, pages)
        self._mapping.pinning = pinning
        whole: torch.Tensor = torch.frombuffer(self._mapping, dtype=torch.uint8)
        self.bytes = whole[:size]
        """uint8 [size]."""
        self._ready = 0

    @property
    def ready(self) -> int:
        """Bytes from the start that are backed by memory."""
        return self._ready

    def grow(self, ready: int) -> None:
        """Back at least the first `ready` bytes. Raises MemoryUnavailable; what was
        backed stays so."""
        step = max(1, _GROWN_AT_ONCE // self._unit) * self._unit
        goal = min(self.size, _round_up(ready, self._unit))
        while self._ready < goal:
            end = min(goal, self._ready + step)
            part = self.bytes[self._ready : end]
            _populate(part)
            self._mapping.pin(part)
            self._ready = end


class _Mapping(mmap.mmap):
    """Anonymous memory. What was pinned of it is let go of before it is unmapped, which
    is when the last tensor over it has gone."""

    # Of the class, because also a mapping that could not be made is deleted.
    pinning: Pinning = NoPinning()
    _pinned: tuple[int, ...] = ()

    def pin(self, part: torch.Tensor) -> None:
        """Raises MemoryUnavailable."""
        try:
            self.pinning.pin(part)
        except PinningFailed as error:
            raise MemoryUnavailable(str(error)) from error
        self._pinned = (*self._pinned, part.data_ptr())

    def __del__(self) -> None:
        # A process that ends gives everything back without being asked.
        if not sys.is_finalizing():
            for address in self._pinned:
                self.pinning.unpin(address)


def _map(size: int, pages: Pages) -> _Mapping:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        if pages is Pages.NORMAL:
            return _Mapping(-1, _round_up(size, PAGE_BYTES), flags)
        rounded = _round_up(size, _HUGE_PAGE_BYTES)
        try:
            return _Mapping(-1, rounded, flags | _MAP_HUGETLB)
        except OSError:
            logger.info("Not enough huge pages are reserved; transparent ones are asked for.")
        mapping = _Mapping(-1, rounded, flags)
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


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
