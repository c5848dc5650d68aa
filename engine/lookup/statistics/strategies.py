"""The strategies of counting unique chunks by name."""

from pathlib import Path
from typing import Final

from engine.lookup.statistics.bloom import BLOOM_FILTER, BloomFilterCounter
from engine.lookup.statistics.hash_file import HASH_FILE, HashFileCounter
from engine.lookup.statistics.unique_counter import UniqueCounter

STRATEGIES: Final = (BLOOM_FILTER, HASH_FILE)
ERROR_RATE: Final = 0.01
"""Unique chunks are then expected to be at most 0.24 % too few at the capacity, and
0.81 % at 1.5 times that."""


def make_counter(
    strategy_name: str,
    *,
    capacity: int,
    error_rate: float = ERROR_RATE,
    directory: Path | None = None,
) -> UniqueCounter:
    """The counter of that name. `capacity` (hashes) and `error_rate` (probability, above
    0 and below 1) size the Bloom filter; `directory` is where the file of hashes lies,
    None for the system's. Raises ValueError for another name, MemoryError."""
    if strategy_name == BLOOM_FILTER:
        return BloomFilterCounter(capacity, error_rate)
    if strategy_name == HASH_FILE:
        return HashFileCounter(directory)
    raise ValueError(f"'{strategy_name}' is none of {', '.join(STRATEGIES)}")
