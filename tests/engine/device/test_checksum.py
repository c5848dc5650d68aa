"""Checksums against their definition, however the work is cut and spread."""

import hashlib
import os
import sys
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.contract import SlotRun
from engine.device import KVCacheSpec, PagedKVCache, checksum

NUM_SLOTS = 24
RUNS = st.lists(
    st.tuples(st.integers(0, NUM_SLOTS - 1), st.integers(0, NUM_SLOTS - 1)).map(
        lambda ends: SlotRun(min(ends), max(ends))
    ),
    min_size=1,
    max_size=6,
)
ROW_BYTES = 64
"""At most, of one slot of one plane."""


def paged(dtype: torch.dtype, layout: str) -> PagedKVCache:
    """3 layers, 6 blocks of 4 slots."""
    is_mla = layout == "mla"
    heads = 1 if is_mla else 2
    cache = PagedKVCache(KVCacheSpec(3, heads, 8, dtype, 4, 6, is_mla), torch.device("cpu"))
    cache.fill_random(seed=5)
    return cache


def by_definition(
    cache: PagedKVCache, runs: list[SlotRun], chunk_size: int
) -> dict[str, list[str]]:
    """The digests by layer, one slot of one plane at a time."""
    slots = [slot for run in runs for slot in range(run.first, run.last + 1)]
    starts = range(0, len(slots), chunk_size)
    digests: dict[str, list[str]] = {}
    for name, layer in cache.layers.items():
        values = layer.to(torch.float32) if layer.dtype is torch.bfloat16 else layer
        planes = [values] if cache.spec.use_mla else [values[0], values[1]]
        for start in starts:
            digest = hashlib.md5()
            for plane in planes:
                for slot in slots[start : start + chunk_size]:
                    digest.update(plane[slot // 4, slot % 4].contiguous().numpy().tobytes())
            digests.setdefault(name, []).append(digest.hexdigest())
    return digests


@pytest.mark.parametrize("layout", ["mha", "mla"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    runs=RUNS,
    chunk_size=st.integers(1, 30),
    piece=st.sampled_from([1, 3 * ROW_BYTES, 1 << 20]),
    unit=st.sampled_from([1, 10 * ROW_BYTES, 1 << 20]),
    group=st.sampled_from([1, 5, 4_096]),
)
def test_checksums__any_cut_of_the_work__are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    layout: str,
    runs: list[SlotRun],
    chunk_size: int,
    piece: int,
    unit: int,
    group: int,
) -> None:
    cache = paged(dtype, layout)
    wanted = by_definition(cache, runs, chunk_size)
    combined = [
        hashlib.md5("".join(chunk).encode("ascii")).hexdigest()
        for chunk in zip(*wanted.values(), strict=True)
    ]
    monkeypatch.setattr(checksum, "_PIECE_BYTES", piece)
    monkeypatch.setattr(checksum, "_UNIT_BYTES", unit)
    monkeypatch.setattr(checksum, "_GROUP_SLOTS", group)
    assert cache.layerwise_checksums(runs, chunk_size) == wanted
    assert cache.checksums(runs, chunk_size) == combined


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities by thread")
@pytest.mark.parametrize("num_threads", [1, 3])
def test_checksums__long_check__takes_so_many_threads_of_the_lowest_priority(
    monkeypatch: pytest.MonkeyPatch, num_threads: int
) -> None:
    planes = {name: [torch.rand(6, 4, 8)] for name in ("a", "b", "c")}
    together = threading.Barrier(num_threads)
    seen: dict[int, int] = {}
    md5 = hashlib.md5

    def watched(content: bytes = b"", *, usedforsecurity: bool = True) -> object:
        if threading.get_ident() not in seen:
            seen[threading.get_ident()] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            # One quick thread must not do the work of all.
            together.wait(60)
        return md5(content, usedforsecurity=usedforsecurity)

    monkeypatch.setattr(hashlib, "md5", watched)
    # So that even this little is worth threads.
    monkeypatch.setattr(checksum, "_UNIT_BYTES", 1)
    checksum.layer_checksums(planes, [SlotRun(0, NUM_SLOTS - 1)], 1, num_threads)
    assert threading.get_ident() not in seen
    assert list(seen.values()) == [19] * num_threads
