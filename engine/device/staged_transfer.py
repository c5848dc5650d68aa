"""Moving KV between a paged cache in a device's memory and chunks in host memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from engine.contract import SlotRun
from engine.device.slots import SlotArray, slot_indices

_ALL = slice(None)
_Index = tuple[slice | torch.Tensor, ...]
_WORDS = (torch.int64, torch.int32, torch.int16, torch.uint8)


class StagedTransfer:
    """Copies between a device and pinned host memory, each way on a stream of its own.

    The slots are brought together on the device first, all layers in one launch, so
    that one copy of contiguous memory crosses the bus; a strided copy across devices
    would be staged by torch in pageable memory.

    Streams and events are those that torch has for the device. The CPU's do nothing,
    and so all of this works on a cache in host memory too.
    """

    def __init__(self, blocks: torch.Tensor) -> None:
        """`blocks` is [blocks, planes, block_size, hidden]."""
        self._device = blocks.device
        self._block_size = blocks.shape[2]
        self.word = _widest_word(blocks)
        """The element that is moved."""
        self._planes = blocks.view(self.word).transpose(0, 1)
        self._torch = torch.get_device_module(blocks.device)
        self._gathering = self._torch.Stream(blocks.device)
        self._scattering = self._torch.Stream(blocks.device)

    def gather(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        words = chunk.view(self.word)
        with self._on(self._gathering):
            staged = self._planes[self._index(runs)]
            words.copy_(staged.view(words.shape), non_blocking=True)

    def scatter(self, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        words = chunk.view(self.word)
        with self._on(self._scattering):
            index = self._index(runs)
            staged = words.to(self._device, non_blocking=True)
            self._planes[index] = staged.view(len(words), -1, *self._planes.shape[len(index) :])

    @contextmanager
    def _on(self, stream: Any) -> Iterator[None]:
        """What is done within comes after all that the caller's stream was given, and is
        over at the end."""
        stream.wait_stream(self._torch.current_stream(self._device))
        with self._torch.stream(stream):
            yield
            done = self._torch.Event()
            done.record(stream)
        done.synchronize()

    def _index(self, runs: Sequence[SlotRun]) -> _Index:
        """Where the slots are: in all planes, their blocks, and unless all of these are
        whole their offsets; int64 [n] each, on the device."""
        slots = slot_indices(runs)
        size = self._block_size
        if all(run.first % size == 0 and (run.last + 1) % size == 0 for run in runs):
            return _ALL, self._there(slots[::size] // size)
        return _ALL, self._there(slots // size), self._there(slots % size)

    def _there(self, numbers: SlotArray) -> torch.Tensor:
        return torch.from_numpy(numbers).to(self._device)


def _widest_word(blocks: torch.Tensor) -> torch.dtype:
    """The widest integer as which all of the cache can be seen: kernels that bring
    elements together move one at a time."""
    steps = [step * blocks.element_size() for step in blocks.stride()[:-1]]
    start = blocks.storage_offset() * blocks.element_size()
    length = blocks.shape[-1] * blocks.element_size()
    return next(
        word
        for word in _WORDS
        if not any(number % word.itemsize for number in (*steps, start, length))
    )
