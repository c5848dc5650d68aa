"""Finding the chunks of a long prompt in memory, and what a stored chunk costs
besides its bytes."""

import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import torch

from benchmarks.report import Result
from engine.config import EngineConfig
from engine.device import KVCacheSpec
from engine.storage import ChunkLayout, StorageManager, slot_stride
from engine.storage.building import build_storage
from engine.tokens import ChunkKey

SPEC = KVCacheSpec(1, 1, 8, torch.float16, 1, 1, use_mla=True)
NAMESPACE = "benchmark@1@0@float16@KV_MLA_FMT"
NUM_CHUNKS = 1000
ROUNDS = 50
STORED = 5000


def measure() -> Iterator[Result]:
    """A thousand chunks of a store that holds five times as many."""
    manager = _manager()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    keys = [ChunkKey(NAMESPACE, (number * 7919).to_bytes(32, "big")) for number in range(STORED)]
    manager.store(keys, [1] * STORED, _copy)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A request's keys are not the objects that are stored.
    asked = [ChunkKey(key.namespace, bytes(bytearray(key.chunk_hash))) for key in keys[:NUM_CHUNKS]]
    peer = dict.fromkeys(keys)
    rounds = [
        (
            _seconds(lambda: manager.count_prefix(asked)),
            _seconds(lambda: _pin_and_release(manager, asked)),
            _seconds(lambda: [key in peer for key in asked]),
        )
        for _ in range(ROUNDS)
    ]
    found, pinned, plain = (median(column) * 1000 for column in zip(*rounds, strict=True))
    print(
        f"  {NUM_CHUNKS} chunks: looked up in {found:.2f} ms, pinned and released in "
        f"{pinned:.2f} ms; a plain dictionary finds them in {plain:.2f} ms"
    )
    yield Result("lookup of 1,000 chunks by key, ms", found, 1.0, higher_is_better=False)
    yield Result("pinning and releasing 1,000 chunks, ms", pinned, 2.5, higher_is_better=False)
    yield Result(
        "host memory of a stored chunk besides its KV, bytes",
        (after - before) / STORED,
        1024,
        higher_is_better=False,
    )


def _manager() -> StorageManager:
    size = (STORED + 1) * slot_stride(SPEC.bytes_per_token) / (1 << 30)
    config = EngineConfig.load(flags={"chunk_size": 1, "max_local_cpu_size": size})
    return build_storage(config, ChunkLayout(NAMESPACE, SPEC), torch.device("cpu"))


def _copy(position: int, chunk: torch.Tensor) -> None:
    chunk.fill_(1)


def _pin_and_release(manager: StorageManager, keys: Sequence[ChunkKey]) -> None:
    pinned = manager.local_cpu.pin(keys)
    manager.local_cpu.release(list(pinned.values()))


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
