"""Counting what a tier does, for `/agent/status` and `/metrics`."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

_AGE_BOUNDS_S = (1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0)


class Count(StrEnum):
    """What is counted of each tier since the start."""

    LOOKED_UP_CHUNKS = "looked_up_chunks"
    """Chunks that a request needed and that no tier above had: the denominator of
    FOUND_CHUNKS."""
    FOUND_CHUNKS = "found_chunks"
    LOOKED_UP_TOKENS = "looked_up_tokens"
    FOUND_TOKENS = "found_tokens"
    STORED_CHUNKS = "stored_chunks"
    STORED_BYTES = "stored_bytes"
    STORE_SECONDS = "store_seconds"
    LOADED_CHUNKS = "loaded_chunks"
    LOADED_BYTES = "loaded_bytes"
    LOAD_SECONDS = "load_seconds"
    EVICTED_CHUNKS = "evicted_chunks"
    QUARANTINED_FILES = "quarantined_files"


class Drop(StrEnum):
    """Why a chunk was not written to a tier."""

    QUEUE_FULL = "queue_full"
    FROZEN = "frozen"
    CLEARED = "cleared"
    DEGRADED = "degraded"
    """The tier failed too often and is being probed."""
    TOO_LARGE = "too_large"
    FAILED = "failed"
    CLOSED = "closed"


class Fault(StrEnum):
    """What went wrong in a tier."""

    READ = "read"
    WRITE = "write"
    TIMEOUT = "timeout"
    CORRUPT = "corrupt"
    """A chunk whose header or checksum does not hold."""
    FOREIGN = "foreign"
    """A chunk of another model, layout, type or key."""


class Distribution(NamedTuple):
    """A histogram: `counts[i]` values were at most `bounds[i]` and above the bound
    before; the last count is of those above all bounds."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


class TallySnapshot(NamedTuple):
    """Everything counted until one moment."""

    counts: Mapping[Count, float]
    drops: Mapping[Drop, int]
    faults: Mapping[Fault, int]
    eviction_age_s: Distribution
    """Seconds from a chunk's arrival in the tier to its eviction."""


class Tally:
    """Counters of one tier. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Count] = Counter()
        self._drops: Counter[Drop] = Counter()
        self._faults: Counter[Fault] = Counter()
        self._ages = [0] * (len(_AGE_BOUNDS_S) + 1)
        self._age_total = 0.0

    def add(self, amounts: Mapping[Count, float]) -> None:
        with self._lock:
            for count, amount in amounts.items():
                self._counts[count] += amount  # type: ignore[assignment]

    def dropped(self, reason: Drop, chunks: int = 1) -> None:
        with self._lock:
            self._drops[reason] += chunks

    def failed(self, fault: Fault, times: int = 1) -> None:
        with self._lock:
            self._faults[fault] += times

    def evicted(self, age_s: float) -> None:
        """Note an eviction of a chunk that arrived `age_s` seconds ago."""
        with self._lock:
            self._counts[Count.EVICTED_CHUNKS] += 1
            self._ages[bisect_left(_AGE_BOUNDS_S, age_s)] += 1
            self._age_total += age_s

    def snapshot(self) -> TallySnapshot:
        """Every count, drop and fault there is, zero where nothing happened."""
        with self._lock:
            return TallySnapshot(
                {count: self._counts[count] for count in Count},
                {reason: self._drops[reason] for reason in Drop},
                {fault: self._faults[fault] for fault in Fault},
                Distribution(_AGE_BOUNDS_S, tuple(self._ages), self._age_total),
            )
