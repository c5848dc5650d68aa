"""Counting unique chunks with a file of hashes."""

import hashlib
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.lookup.statistics import CountingFailed, make_counter
from engine.lookup.statistics.hash_file import HashFileCounter


def hash_of(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "little")).digest()


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[HashFileCounter]:
    made = HashFileCounter(tmp_path)
    yield made
    made.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 200), max_size=300), max_size=8))
def test_hash_file__any_calls__counts_as_a_set_does(calls: list[list[int]]) -> None:
    counter = HashFileCounter(None)
    seen: set[int] = set()

    for numbers in calls:
        new = set(numbers) - seen
        seen |= new
        assert counter.count([hash_of(number) for number in numbers]) == len(new)
    counter.close()


def test_hash_file__hashes_that_differ_in_their_end_only__are_one(
    counter: HashFileCounter,
) -> None:
    same = bytes(16)

    assert counter.count([same + bytes(16), same + b"x" * 16, b"y" * 32]) == 2


def test_hash_file__many_hashes__file_grows_and_memory_stays_bounded(
    counter: HashFileCounter,
) -> None:
    for start in range(0, 40_000, 4_000):
        assert counter.count([hash_of(number) for number in range(start, start + 4_000)]) == 4_000

    assert 40_000 * 16 < counter.disk_bytes < 40_000 * 40
    assert counter.memory_bytes <= 16 << 20


def test_hash_file__counting__leaves_no_name_behind(tmp_path: Path) -> None:
    counter = HashFileCounter(tmp_path / "made" / "here")

    assert counter.count([hash_of(1)]) == 1

    assert (tmp_path / "made" / "here").is_dir()
    assert not list((tmp_path / "made" / "here").iterdir())
    counter.close()
    assert counter.disk_bytes == 0


def test_hash_file__reset__forgets_all(counter: HashFileCounter) -> None:
    counter.count([hash_of(1), hash_of(2)])

    counter.reset()

    assert counter.disk_bytes == 0
    assert counter.count([hash_of(1)]) == 1


def test_hash_file__other_thread__may_count_and_close(tmp_path: Path) -> None:
    counter = make_counter("file_hash", capacity=1, directory=tmp_path)
    counted: list[int] = []
    assert counter.count([hash_of(1)]) == 1

    thread = threading.Thread(
        target=lambda: (counted.append(counter.count([hash_of(1), hash_of(2)])), counter.close())
    )
    thread.start()
    thread.join()

    assert counted == [1]


def test_hash_file__directory_is_a_file__says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    counter = HashFileCounter(tmp_path / "file")

    with pytest.raises(CountingFailed, match="file"):
        counter.count([hash_of(1)])


def test_hash_file__disk_full__fails_and_counts_anew_when_there_is_room(
    counter: HashFileCounter,
) -> None:
    hashes = [hash_of(number) for number in range(20_000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this; as on a full disk the write fails. The table is
    # written out once it is larger than the page cache, or with each call.
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        with pytest.raises(CountingFailed):
            counter.count(hashes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert counter.disk_bytes == 0
    assert counter.count(hashes) == 20_000


def test_hash_file__unknown_strategy__is_refused() -> None:
    with pytest.raises(ValueError, match="memory_bloom_filter, file_hash"):
        make_counter("hyperloglog", capacity=1)
