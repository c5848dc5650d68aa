"""Gather and scatter between a device's paged KV cache and host memory, against one copy
of as many bytes between that device and pinned memory; checked before it is measured.

Skipped where torch finds no CUDA device.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from benchmarks.report import Result
from engine.contract import SlotRun
from engine.device import KVCacheSpec, PagedKVCache, split_runs

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
    """Scattered blocks of one case. Raises RuntimeError if bytes arrive wrong."""
    cache = PagedKVCache(case.spec, device)
    cache.fill_pattern()
    runs = _scattered(case.spec)
    parts = list(split_runs(runs, case.chunk_tokens))
    chunks = [
        _host(case.spec.chunk_shape(_tokens(part)), case.spec.dtype, device) for part in parts
    ]

    def gather() -> None:
        for part, chunk in zip(parts, chunks, strict=True):
            cache.gather(part, chunk)

    def scatter() -> None:
        for part, chunk in zip(parts, chunks, strict=True):
            cache.scatter(chunk, part)

    _check(cache, gather, scatter)
    num_bytes = sum(chunk.nbytes for chunk in chunks)
    host = _host((num_bytes,), torch.uint8, device)
    there = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    for what, moved, copied in (
        ("gather", gather, lambda: host.copy_(there)),
        ("scatter", scatter, lambda: there.copy_(host)),
    ):
        pairs = [(_seconds(copied, device), _seconds(moved, device)) for _ in range(ROUNDS)]
        plain, ours = (num_bytes / median(times) / 1e9 for times in zip(*pairs, strict=True))
        print(f"  {case.name}, {what}: {ours:.1f} GB/s; plain copy {plain:.1f} GB/s")
        ratio = median(copy / move for copy, move in pairs)
        yield Result(
            f"{what}, {case.name} / plain copy (speed)", ratio, MARK, higher_is_better=True
        )


def _check(cache: PagedKVCache, gather: Callable[[], None], scatter: Callable[[], None]) -> None:
    everything = [SlotRun(0, cache.num_slots - 1)]
    before = cache.checksums(everything, cache.spec.block_size)
    gather()
    cache.fill_random(seed=1)
    if cache.checksums(everything, cache.spec.block_size) == before:
        raise RuntimeError("The check cannot fail.")
    scatter()
    if cache.checksums(everything, cache.spec.block_size) != before:
        raise RuntimeError("What was scattered is not what was gathered.")


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
