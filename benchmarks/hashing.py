"""Chunk keys from a Python list of tokens, as a request brings them.

The figure is millions of tokens a second; beside it, in turn, what the same
tokens cost by other means: a chain of Python's `hash` over tuples, as a peer
makes keys by default, which differ from process to process; and one SHA-256 over
the bytes alone, when somebody else has already turned the list into them.
"""

import hashlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np

from benchmarks.report import Result
from engine.config import EngineConfig
from engine.metadata import new_engine_id, worker_metadata
from engine.tokens import ChunkKey, ChunkKeyMaker, as_token_array

NUM_TOKENS = 2_000_000
VOCABULARY = 150_000
ROUNDS = 9


def measure() -> Iterator[Result]:
    """All in turn, so that a machine that slows down slows each."""
    config = EngineConfig.load()
    maker = ChunkKeyMaker(worker_metadata(config, 0, new_engine_id()))
    source = random.Random(7)
    tokens = [source.randrange(VOCABULARY) for _ in range(NUM_TOKENS)]
    array = np.array(tokens, dtype=np.int64)
    narrow = array.astype("<u4")
    ways: dict[str, Callable[[], object]] = {
        "list": lambda: maker.make(as_token_array(tokens)),
        "int64 array": lambda: maker.make(as_token_array(array)),
        "builtin hash": lambda: _builtin_chain(tokens, config.chunk_size),
        "SHA-256 of the bytes": lambda: hashlib.sha256(narrow.data).digest(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name].append(_seconds(way))
    rates = {name: NUM_TOKENS / median(taken) / 1e6 for name, taken in seconds.items()}
    print(
        f"  million tokens a second, chunks of {config.chunk_size}: "
        + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    )
    print(f"  one key takes {_key_bytes(maker)} bytes of Python objects")
    yield Result(
        "chunk keys from a list of tokens, in million tokens a second",
        rates["list"],
        60,
        higher_is_better=True,
    )
    for peer, mark in (("builtin hash", 0.6), ("SHA-256 of the bytes", 0.15)):
        yield Result(
            f"chunk keys from a list of tokens / {peer} (speed)",
            _median_ratio(seconds[peer], seconds["list"]),
            mark,
            higher_is_better=True,
        )


def _builtin_chain(tokens: list[int], chunk_size: int) -> list[int]:
    """64-bit keys, equal only in processes with the same PYTHONHASHSEED."""
    parent = 0
    hashes: list[int] = []
    for start in range(0, len(tokens), chunk_size):
        parent = hash((parent, tuple(tokens[start : start + chunk_size])))
        hashes.append(parent)
    return hashes


def _median_ratio(upper: list[float], lower: list[float]) -> float:
    return median(one / other for one, other in zip(upper, lower, strict=True))


def _key_bytes(maker: ChunkKeyMaker) -> int:
    """The namespace is one string for all keys of a worker and does not count."""
    key: ChunkKey = maker.make(as_token_array([1]))[0]
    return sys.getsizeof(key) + sys.getsizeof(key.chunk_hash)


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
