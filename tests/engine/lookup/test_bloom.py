"""Counting unique chunks with a Bloom filter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.lookup.statistics import make_counter
from engine.lookup.statistics.bloom import (
    BloomFilterCounter,
    FilterShape,
    chance_of_a_miss,
    filter_shape,
)

_BATCH = 500


def random_hashes(seed: int, count: int) -> list[bytes]:
    """Different ones, uniform as SHA-256 is."""
    written = np.random.default_rng(seed).bytes(32 * count)
    return [written[start : start + 32] for start in range(0, len(written), 32)]


def count_in_batches(counter: BloomFilterCounter, hashes: list[bytes]) -> int:
    return sum(
        counter.count(hashes[start : start + _BATCH]) for start in range(0, len(hashes), _BATCH)
    )


@pytest.mark.parametrize("seed", range(5))
def test_bloom__filled_to_its_capacity__unique_chunks_within_one_percent(seed: int) -> None:
    capacity = 174_000  # Nearly the most for its power of two.
    counter = BloomFilterCounter(capacity, 0.01)

    counted = count_in_batches(counter, random_hashes(seed, capacity))

    assert 0.99 * capacity <= counted <= capacity


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("load", [1, 2, 4])
def test_bloom__hashes_missed__are_as_many_as_expected(load: int, seed: int) -> None:
    total = 43_000 * load
    counter = BloomFilterCounter(43_000, 0.01)

    missed = total - count_in_batches(counter, random_hashes(seed, total))

    expected = counter.expected_error * total
    # Nearly a Poisson distribution: five standard deviations, and a little for the
    # spread of the filter itself.
    assert abs(missed - expected) < 5 * expected**0.5 + 0.03 * expected


@pytest.mark.parametrize("probes", [1, 4, 6, 10])
def test_bloom__chance_of_a_miss__is_what_a_simulation_gives(probes: int) -> None:
    words, hashes, trials = 2_000, 12_000, 200_000
    random = np.random.default_rng(probes)
    filled = np.zeros((words, 64), dtype=bool)
    inserted = random.integers(0, words, hashes)
    filled[inserted[:, None], random.integers(0, 64, (hashes, probes))] = True
    asked = random.integers(0, words, trials)
    found = filled[asked[:, None], random.integers(0, 64, (trials, probes))].all(axis=1)

    expected = chance_of_a_miss(FilterShape(words, probes), hashes)

    assert found.mean() == pytest.approx(expected, rel=0.1)


@given(capacity=st.integers(1_000, 10**9), error_rate=st.floats(1e-5, 0.02))
def test_bloom__any_capacity__shape_keeps_the_error_rate_and_half_of_it_would_not(
    capacity: int, error_rate: float
) -> None:
    shape = filter_shape(capacity, error_rate)

    half = FilterShape(shape.words // 2, shape.probes)
    assert chance_of_a_miss(shape, capacity) <= error_rate < chance_of_a_miss(half, capacity)


def test_bloom__ten_million_hashes__take_sixteen_mebibytes() -> None:
    counter = make_counter("memory_bloom_filter", capacity=10_000_000)

    assert counter.memory_bytes == 16 << 20
    counter.count(random_hashes(1, 1_000))
    assert counter.memory_bytes == 16 << 20


def test_bloom__hash_again__is_old() -> None:
    counter = BloomFilterCounter(10_000, 0.0001)
    hashes = random_hashes(2, 1_000)

    assert counter.count(hashes) == 1_000
    assert counter.count(hashes) == 0
    assert counter.count(hashes[::-7]) == 0


def test_bloom__hash_twice_in_one_call__is_counted_once() -> None:
    counter = BloomFilterCounter(10_000, 0.0001)
    hashes = random_hashes(3, 100)

    assert counter.count(hashes + hashes[:60]) == 100
    assert counter.count([*hashes, *random_hashes(4, 1), hashes[0]]) == 1


@given(st.lists(st.lists(st.integers(0, 60), max_size=80), max_size=12))
def test_bloom__any_calls__never_counts_more_than_there_are(calls: list[list[int]]) -> None:
    hashes = random_hashes(5, 61)
    counter = BloomFilterCounter(1_000, 0.00001)
    seen: set[int] = set()

    for numbers in calls:
        new = set(numbers) - seen
        seen |= new
        # With this seed and size no hash is missed.
        assert counter.count([hashes[number] for number in numbers]) == len(new)


def test_bloom__many_bits_for_one_word__all_are_set() -> None:
    counter = BloomFilterCounter(100, 0.02)
    hashes = random_hashes(6, 2_000)

    counter.count(hashes)

    assert counter.count(hashes) == 0


def test_bloom__no_hashes__counts_nothing() -> None:
    counter = BloomFilterCounter(1_000, 0.01)

    assert counter.count([]) == 0
    assert counter.expected_error == 0.0


def test_bloom__reset__forgets_all() -> None:
    counter = BloomFilterCounter(1_000, 0.01)
    hashes = random_hashes(7, 4_000)
    counter.count(hashes[:3_000])
    counter.count(hashes[3_000:])
    assert counter.expected_error > 0

    counter.reset()

    assert counter.expected_error == 0.0
    assert counter.count(hashes) == 4_000


def test_bloom__far_beyond_its_capacity__says_at_least_the_true_error() -> None:
    counter = BloomFilterCounter(500, 0.02)
    total = 20_000

    counted = count_in_batches(counter, random_hashes(8, total))

    assert 0.5 < (total - counted) / total <= counter.expected_error <= 1.0


def test_bloom__full_after_one_call__says_so() -> None:
    counter = BloomFilterCounter(1, 0.02)

    assert counter.count(random_hashes(9, 100)) == 100

    assert counter.expected_error > 0.99
