"""Chunk keys against one SHA-256 over the bytes of the same tokens."""

import hashlib
import time
from collections.abc import Iterator
from statistics import median

import numpy as np

from benchmarks.report import Result
from engine.config import EngineConfig
from engine.metadata import new_engine_id, worker_metadata
from engine.tokens import ChunkKeyMaker, as_token_array

NUM_TOKENS = 10_000_000
ROUNDS = 7


def measure() -> Iterator[Result]:
    """Both in turn, so that a machine that slows down slows both."""
    config = EngineConfig.load()
    maker = ChunkKeyMaker(worker_metadata(config, 0, new_engine_id()))
    tokens = np.arange(NUM_TOKENS, dtype=np.int64)
    rounds: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        maker.make(as_token_array(tokens))
        made = time.perf_counter()
        hashlib.sha256(tokens.data).digest()
        rounds.append((made - started, time.perf_counter() - made))
    rate = NUM_TOKENS / median(keys for keys, _ in rounds)
    print(f"  {rate / 1e6:.1f} million tokens a second, chunks of {config.chunk_size}")
    yield Result(
        "chunk keys of 10 million tokens / SHA-256 of their bytes (speed)",
        median(digest / keys for keys, digest in rounds),
        0.3,
        higher_is_better=True,
    )
