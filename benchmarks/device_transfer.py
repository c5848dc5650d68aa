"""Gather and scatter between a device's paged KV cache and host memory, against one copy
of as many bytes between that device and pinned memory; checked before it is measured.

Skipped where torch finds no CUDA device. `python -m benchmarks.device_transfer` needs
nothing but torch and numpy.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch

from benchmarks.report import Result, show
from engine.contract import SlotRun
from engine.device import KVCacheSpec, split_runs
from engine.device.host_transfer import HostTransfer
from engine.device.staged_transfer import StagedTransfer
from engine.device.transfer import Transfer

MARK = 0.8
ROUNDS = 7


@dataclass(frozen=True)
class Case:
    """A cache of `num_blocks` blocks, all of which are moved, `chunk_tokens` at a time."""

    name: str
    spec: KVCacheSpec
    chunk_tokens: int


CASES = tuple(
    Case(
        f"{name}, chunks of {chunk}",
        KVCacheSpec(32, heads, size, torch.float16, 16, 512, mla),
        chunk,
    )
    for name, heads, size, mla in (("8 heads of 128", 8, 128, False), ("latent 576", 1, 576, True))
    for chunk in (256, 2048)
)


def measure() -> Iterator[Result]:
    """Every case on the first CUDA device; nothing, with the reason, without one."""
    if not torch.cuda.is_available():
        print("  skipped: torch finds no CUDA device")
        return
    device = torch.device("cuda", 0)
    print(f"  {torch.cuda.get_device_name(device)}")
    for case in CASES:
        yield from compare(case, device)


def compare(case: Case, device: torch.device) -> Iterator[Result]:
    """Scattered blocks of one case, by each way of moving them; the first is the one
    that is used. Raises RuntimeError if bytes arrive wrong."""
    blocks = _numbered(case.spec, device)
    parts = list(split_runs(_scattered(case.spec), case.chunk_tokens))
    shapes = [(case.spec.num_planes, _tokens(part), case.spec.hidden_size) for part in parts]
    chunks = [_host(shape, case.spec.dtype, device) for shape in shapes]
    num_bytes = sum(chunk.nbytes for chunk in chunks)
    host = _host((num_bytes,), torch.uint8, device)
    there = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    for name, transfer in (("staged", StagedTransfer(blocks)), ("by span", HostTransfer(blocks))):
        gather = partial(_gather, transfer, parts, chunks)
        scatter = partial(_scatter, transfer, parts, chunks)
        _check(blocks, chunks, gather, scatter)
        for what, moved, copied in (
            ("gather", gather, lambda: host.copy_(there)),
            ("scatter", scatter, lambda: there.copy_(host)),
        ):
            pairs = [(_seconds(copied, device), _seconds(moved, device)) for _ in range(ROUNDS)]
            plain, ours = (num_bytes / median(times) / 1e9 for times in zip(*pairs, strict=True))
            print(f"  {case.name}, {what} {name}: {ours:.1f} GB/s; plain copy {plain:.1f} GB/s")
            if name == "staged":
                ratio = median(copy / move for copy, move in pairs)
                title = f"{what}, {case.name} / plain copy (speed)"
                yield Result(title, ratio, MARK, higher_is_better=True)


def _gather(
    transfer: Transfer, parts: Sequence[Sequence[SlotRun]], chunks: Sequence[torch.Tensor]
) -> None:
    for part, chunk in zip(parts, chunks, strict=True):
        transfer.gather(part, chunk)


def _scatter(
    transfer: Transfer, parts: Sequence[Sequence[SlotRun]], chunks: Sequence[torch.Tensor]
) -> None:
    for part, chunk in zip(parts, chunks, strict=True):
        transfer.scatter(chunk, part)


def _check(
    blocks: torch.Tensor,
    chunks: Sequence[torch.Tensor],
    gather: Callable[[], None],
    scatter: Callable[[], None],
) -> None:
    before = blocks.clone()
    gather()
    blocks.zero_()
    scatter()
    if not torch.equal(blocks, before):
        raise RuntimeError("What was scattered is not what was gathered.")
    for chunk in chunks:
        chunk.add_(1)
    scatter()
    if torch.equal(blocks, before):
        raise RuntimeError("The check cannot fail.")
    blocks.copy_(before)


def _numbered(spec: KVCacheSpec, device: torch.device) -> torch.Tensor:
    """A cache, [blocks, planes, block_size, hidden], whose elements differ from their
    neighbours, as numbers that every dtype holds exactly."""
    shape = (spec.num_blocks, spec.num_planes, spec.block_size, spec.hidden_size)
    numbers = torch.arange(math.prod(shape), dtype=torch.int32, device=device) % 251
    return numbers.to(spec.dtype).view(shape)


def _scattered(spec: KVCacheSpec) -> list[SlotRun]:
    """All slots, block by block, in the order in which a busy server has them."""
    blocks = np.random.default_rng(7).permutation(spec.num_blocks)
    size = spec.block_size
    return [SlotRun(int(block) * size, int(block) * size + size - 1) for block in blocks]


def _tokens(runs: list[SlotRun]) -> int:
    return sum(run.last - run.first + 1 for run in runs)


def _host(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    made = torch.zeros(shape, dtype=dtype)
    return made.pin_memory() if device.type == "cuda" else made


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(0 if show("device_transfer", measure) else 1)
