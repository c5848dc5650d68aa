"""Store and retrieve in memory against one copy of the same bytes."""

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch

from benchmarks.report import Result
from engine.cache import CacheEngine
from engine.config import EngineConfig
from engine.contract import SlotRun
from engine.metadata import new_engine_id, worker_metadata

NUM_TOKENS = 8192
BYTES_PER_TOKEN = 128 << 10
ROUNDS = 7
SHAPE: dict[str, object] = {
    "num_layers": 32,
    "num_kv_heads": 8,
    "head_size": 128,
    "kv_dtype": "float16",
    "block_size": 16,
    "num_blocks": NUM_TOKENS // 16,
    "max_local_cpu_size": 1.1,
    "device": "cpu",
}


def measure() -> Iterator[Result]:
    """Contiguous slots, then blocks scattered as a busy server leaves them; the
    plain copy is measured beside each."""
    engine = _engine()
    source = torch.ones(NUM_TOKENS * BYTES_PER_TOKEN, dtype=torch.uint8)
    target = torch.zeros_like(source)
    tokens = np.arange(NUM_TOKENS, dtype=np.int64)
    for name, runs in (("contiguous slots", _contiguous()), ("scattered blocks", _scattered())):
        ratios: dict[str, list[float]] = {"store": [], "retrieve": []}
        for _ in range(ROUNDS):
            engine.clear()
            copied = _seconds(lambda: target.copy_(source))
            stored = _seconds(lambda: engine.store(tokens, runs, "benchmark"))  # noqa: B023
            retrieved = _seconds(lambda: engine.retrieve(tokens, runs, "benchmark"))  # noqa: B023
            ratios["store"].append(copied / stored)
            ratios["retrieve"].append(copied / retrieved)
        speed = NUM_TOKENS * BYTES_PER_TOKEN / copied / 1e9
        print(f"  {name}: the plain copy runs at {speed:.1f} GB/s")
        for what, values in ratios.items():
            yield Result(
                f"{what} of 1 GiB / one torch.copy_ of it, {name} (speed)",
                median(values),
                0.75,
                higher_is_better=True,
            )


def _engine() -> CacheEngine:
    config = EngineConfig.load(None, {}, {}, SHAPE)
    engine = CacheEngine.build(config, worker_metadata(config, 0, new_engine_id()))
    # Pages that were never written all share the kernel's one page of zeros, and
    # reading that is no reading.
    engine.kv_cache.fill_pattern()
    return engine


def _contiguous() -> list[SlotRun]:
    return [SlotRun(0, NUM_TOKENS - 1)]


def _scattered() -> list[SlotRun]:
    blocks = np.random.default_rng(7).permutation(NUM_TOKENS // 16)
    return [SlotRun(int(block) * 16, int(block) * 16 + 15) for block in blocks]


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
