"""Slots of a paged KV cache: bounds, and cutting a mapping into chunks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.contract import SlotRun

SlotArray = npt.NDArray[np.int64]
"""Slots one by one, of shape [n]."""


class SlotsUnreadable(ValueError):
    """The KV of single slots cannot be told apart in this KV cache; the text says why."""


class SlotOutOfBounds(ValueError):
    """A slot that the KV cache does not have."""

    def __init__(self, slot: int, num_slots: int) -> None:
        super().__init__(
            f"slot {slot} is out of bounds; the KV cache has slots 0 to {num_slots - 1}."
        )
        self.slot = slot
        self.num_slots = num_slots


class BlockSpan(NamedTuple):
    """Consecutive slots as a paged cache holds them: either `num_blocks` whole
    blocks, or a part of one block (`num_blocks` 1, `offset` and `length`)."""

    first_block: int
    num_blocks: int
    offset: int
    length: int


def check_slots(runs: Sequence[SlotRun], num_slots: int) -> None:
    """Raise SlotOutOfBounds for the first slot that is not 0 … num_slots - 1."""
    for run in runs:
        if run.first < 0:
            raise SlotOutOfBounds(run.first, num_slots)
        if run.last >= num_slots:
            raise SlotOutOfBounds(max(run.first, num_slots), num_slots)


def split_runs(runs: Sequence[SlotRun], chunk_size: int) -> Iterator[list[SlotRun]]:
    """The slots of each chunk in turn; the last one may have fewer."""
    part: list[SlotRun] = []
    missing = chunk_size
    for run in runs:
        first = run.first
        while first <= run.last:
            last = min(run.last, first + missing - 1)
            part.append(SlotRun(first, last))
            missing -= last - first + 1
            first = last + 1
            if missing == 0:
                yield part
                part = []
                missing = chunk_size
    if part:
        yield part


def block_spans(run: SlotRun, block_size: int) -> Iterator[BlockSpan]:
    """Cut a run at block borders, keeping whole blocks together."""
    first, end = run.first, run.last + 1
    if first % block_size:
        border = min(end, (first // block_size + 1) * block_size)
        yield BlockSpan(first // block_size, 1, first % block_size, border - first)
        first = border
    whole = (end - first) // block_size
    if whole:
        yield BlockSpan(first // block_size, whole, 0, whole * block_size)
        first += whole * block_size
    if first < end:
        yield BlockSpan(first // block_size, 1, 0, end - first)


def slot_indices(runs: Sequence[SlotRun]) -> SlotArray:
    """The slots one by one, in order."""
    ranges = [np.arange(run.first, run.last + 1, dtype=np.int64) for run in runs]
    return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)
