"""Counting unique chunks in memory that does not grow."""

import functools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.lookup.messages import HASH_BYTES

BLOOM_FILTER: Final = "memory_bloom_filter"
_WORDS_OF_HASH = HASH_BYTES // 8
_WORD_BITS = 64
_BITS_OF_POSITION = np.uint64(6)
_POSITION = np.uint64(_WORD_BITS - 1)
_ONE = np.uint64(1)
_MOST_PROBES = 10
"""A word of the chunk hash has room for ten positions of six bits."""
_OVERFULL = 0.5
"""Chance of a miss."""
_LEAST_CHANCE = 2.0**-53
"""So that an overfull filter divides by no zero."""

Words = npt.NDArray[np.uint64]


class FilterShape(NamedTuple):
    """How large a filter is, in words of 64 bits, and how many bits a hash sets."""

    words: int
    probes: int


class BloomFilterCounter:
    """A Bloom filter (Bloom, "Space/time trade-offs in hash coding with allowable
    errors", CACM 13(7), 1970) whose k bits of a hash lie in one 64-bit word (Putze,
    Sanders & Singler, "Cache-, hash- and space-efficient Bloom filters", WEA 2007). A
    hash is new if one of its bits is not set yet.

    One word, because a filter is larger than the processor's caches: k words a hash
    are k waits for memory, and took two to four times as long. Chunk hashes are uniform
    already (SHA-256), so nothing is hashed here: their first 64 bits choose the word,
    the next ones the k bits, six each.

    **Chance of a miss.** With N hashes in W words, the number X of them in one word has
    the Poisson distribution of mean L = N / W. Each set k of 64 bits, with repetition,
    so j certain bits are all unset with probability (1 - j/64)^(k X). A new hash is
    missed if none of the D different bits among its own k is unset; by inclusion and
    exclusion, and with E[a^X] = e^(-L (1 - a)) for that distribution,

        p(N) = sum over j = 0 … k of (-1)^j E[(D choose j)] e^(-L (1 - (1 - j/64)^k))

    The size is the smallest power of two at which some k has p(capacity) <= error_rate:
    12 bits a hash for 0.01, where k words a hash would want 9.6, and up to twice that
    for the power of two, which makes p lower.

    **Expected error.** All hashes of a call are compared with the filter as it was
    before the call, so of D new ones D (1 - p) are counted and D p are missed on
    average: c counted ones stand for c p / (1 - p) missed ones. With M, the sum of
    those over all calls, N = counted + M, and M / N is the error. At the capacity it is
    about a quarter of p, since the filter was emptier before; beyond, it grows. Once
    p is above a half, too few are counted to say how many are missed, and p itself is
    given, which is larger.

    **Why it is written here.** rbloom, a compiled filter, is called for one hash at a
    time, with Python's global lock held: 0.2 ms (old ones) to 0.4 ms (new ones) for
    1,000 hashes, where this takes 0.04 to 0.07 ms, most of it without the lock.
    """

    strategy: Final = BLOOM_FILTER
    disk_bytes: Final = 0

    def __init__(self, capacity: int, error_rate: float) -> None:
        """The system gives the memory page by page, as bits are set. Raises
        MemoryError."""
        self._shape = filter_shape(capacity, error_rate)
        self._shifts = _BITS_OF_POSITION * np.arange(self._shape.probes, dtype=np.uint64)
        self._shifts = self._shifts[:, np.newaxis]
        self._word_of = np.uint64(self._shape.words - 1)
        self._words: Words
        self.reset()

    @property
    def expected_error(self) -> float:
        chance = self._chance_of_a_miss()
        if chance > _OVERFULL:
            return chance
        if self._missed == 0:
            return 0.0
        return self._missed / (self._counted + self._missed)

    @property
    def memory_bytes(self) -> int:
        return self._words.nbytes

    def count(self, hashes: Sequence[bytes]) -> int:
        digests = np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, _WORDS_OF_HASH)
        indices = (digests[:, 0] & self._word_of).view(np.int64)
        positions = (digests[:, 1] >> self._shifts) & _POSITION
        bits = np.bitwise_or.reduce(_ONE << positions, axis=0)
        new = np.flatnonzero((self._words[indices] & bits) != bits)
        if new.size == 0:
            return 0
        _set(self._words, indices[new], bits[new])
        different = _count_different(digests[new, 0])
        self._missed += different * self._odds_of_a_miss()
        self._counted += different
        return different

    def reset(self) -> None:
        # New memory is zero without being touched, and the old goes back to the system.
        self._words = np.zeros(self._shape.words, dtype=np.uint64)
        self._counted = 0
        self._missed = 0.0

    def close(self) -> None:
        self._words = np.zeros(0, dtype=np.uint64)

    def _chance_of_a_miss(self) -> float:
        return chance_of_a_miss(self._shape, self._counted + self._missed)

    def _odds_of_a_miss(self) -> float:
        """How many new hashes are missed for one that is counted: p / (1 - p)."""
        chance = self._chance_of_a_miss()
        return chance / max(1.0 - chance, _LEAST_CHANCE)


def chance_of_a_miss(shape: FilterShape, hashes: float) -> float:
    """p(N) of BloomFilterCounter, for a filter that has seen `hashes` different ones."""
    load = hashes / shape.words
    chance = math.fsum(
        (-1) ** bits * ways * math.exp(-load * (1 - (1 - bits / _WORD_BITS) ** shape.probes))
        for bits, ways in enumerate(_ways_to_choose(shape.probes))
    )
    # Terms that cancel may leave less than nothing.
    return min(1.0, max(0.0, chance))


@functools.cache
def _ways_to_choose(probes: int) -> list[float]:
    """E[(D choose j)] for j = 0 … probes, with D the number of different bits among
    `probes` random ones of a word."""
    different = [1.0] + [0.0] * probes
    for _ in range(probes):
        for bits in range(probes, 0, -1):
            again = different[bits] * bits / _WORD_BITS
            first = different[bits - 1] * (1 - (bits - 1) / _WORD_BITS)
            different[bits] = again + first
        different[0] = 0.0
    return [
        math.fsum(chance * math.comb(bits, chosen) for bits, chance in enumerate(different))
        for chosen in range(probes + 1)
    ]


def filter_shape(capacity: int, error_rate: float) -> FilterShape:
    """The smallest filter that misses a new hash with a probability of at most
    `error_rate` once it has seen `capacity` different ones."""
    words = 1
    while True:
        shapes = [FilterShape(words, probes) for probes in range(1, _MOST_PROBES + 1)]
        best = min(shapes, key=lambda shape: chance_of_a_miss(shape, capacity))
        if chance_of_a_miss(best, capacity) <= error_rate:
            return best
        words *= 2


def _set(words: Words, indices: npt.NDArray[np.int64], bits: Words) -> None:
    """Set `bits`, of shape [n], in the words at `indices`."""
    while indices.size:
        words[indices] |= bits
        # Of several for one word only the last is written; the others go again.
        lost = np.flatnonzero((words[indices] & bits) != bits)
        indices, bits = indices[lost], bits[lost]


def _count_different(values: Words) -> int:
    """How many different values there are, at least one. The first 64 bits tell the
    hashes of a call apart: two agree in them with a chance of 2^-64."""
    ordered = np.sort(values)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
