"""Transfers by the definition of what they do, one slot at a time. What a device has of
its own, streams, is the CPU's here, which do nothing."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import SlotRun
from engine.device.host_transfer import HostTransfer
from engine.device.staged_transfer import StagedTransfer
from engine.device.transfer import Transfer

BLOCKS, PLANES, BLOCK_SIZE = 6, 3, 4
MakeTransfer = Callable[[torch.Tensor], Transfer]
TRANSFERS: list[MakeTransfer] = [HostTransfer, StagedTransfer]
each_transfer = pytest.mark.parametrize("make", TRANSFERS)

RUNS = st.permutations(range(BLOCKS * BLOCK_SIZE)).flatmap(
    lambda slots: st.integers(1, len(slots)).map(
        lambda number: [SlotRun(slot, slot) for slot in slots[:number]]
    )
)
WHOLE_BLOCKS = st.permutations(range(BLOCKS)).flatmap(
    lambda blocks: st.integers(1, BLOCKS).map(
        lambda number: [
            SlotRun(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE - 1) for block in blocks[:number]
        ]
    )
)
SHAPES = st.sampled_from(
    [(torch.uint8, 1), (torch.uint8, 6), (torch.uint8, 24), (torch.float16, 3), (torch.float32, 4)]
)
"""Element and length of a slot's vector: words of 1, 2 and 8 bytes, and odd ones."""
LAYOUTS = st.sampled_from(["blocks outermost", "planes outermost", "with gaps"])


def paged(dtype: torch.dtype, hidden: int, layout: str) -> torch.Tensor:
    """[BLOCKS, PLANES, BLOCK_SIZE, hidden], every element another number."""
    numbers = torch.arange(BLOCKS * PLANES * BLOCK_SIZE * hidden) % 251
    cache = numbers.to(dtype).view(BLOCKS, PLANES, BLOCK_SIZE, hidden)
    if layout == "planes outermost":
        return cache.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "with gaps":
        wide = torch.zeros(BLOCKS, PLANES + 2, BLOCK_SIZE, hidden, dtype=dtype)
        wide[:, 1:-1] = cache
        return wide[:, 1:-1]
    return cache


def slots_of(runs: list[SlotRun]) -> list[int]:
    return [slot for run in runs for slot in range(run.first, run.last + 1)]


@each_transfer
@given(RUNS | WHOLE_BLOCKS, SHAPES, LAYOUTS)
def test_gather__any_slots__brings_them_together_in_order(
    make: MakeTransfer, runs: list[SlotRun], shape: tuple[torch.dtype, int], layout: str
) -> None:
    cache = paged(*shape, layout)
    slots = slots_of(runs)
    expected = [cache[slot // BLOCK_SIZE, :, slot % BLOCK_SIZE] for slot in slots]
    chunk = torch.zeros(PLANES, len(slots), shape[1], dtype=shape[0])
    make(cache).gather(runs, chunk)
    assert torch.equal(chunk, torch.stack(expected, dim=1))


@each_transfer
@given(RUNS | WHOLE_BLOCKS, SHAPES, LAYOUTS)
def test_scatter__any_slots__writes_them_and_no_others(
    make: MakeTransfer, runs: list[SlotRun], shape: tuple[torch.dtype, int], layout: str
) -> None:
    cache = paged(*shape, layout)
    slots = slots_of(runs)
    chunk = (torch.arange(PLANES * len(slots) * shape[1]) % 241 + 7).to(shape[0])
    chunk = chunk.view(PLANES, len(slots), shape[1])
    expected = cache.clone()
    for position, slot in enumerate(slots):
        expected[slot // BLOCK_SIZE, :, slot % BLOCK_SIZE] = chunk[:, position]
    make(cache).scatter(chunk, runs)
    assert torch.equal(cache, expected)


def test_staged__words__are_as_wide_as_the_cache_allows() -> None:
    seen = {}
    for hidden in (1, 6, 24):
        staged = StagedTransfer(paged(torch.uint8, hidden, "blocks outermost"))
        seen[hidden] = staged.word
    assert seen == {1: torch.uint8, 6: torch.int16, 24: torch.int64}
