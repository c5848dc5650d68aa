"""The order in which each policy evicts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.settings import KEYS
from engine.storage import POLICIES
from engine.tokens import ChunkKey


def key(number: int) -> ChunkKey:
    return ChunkKey("test", bytes([number]))


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("LRU", [3, 4, 2, 1]),
        ("LFU", [3, 4, 2, 1]),
        ("FIFO", [1, 2, 3, 4]),
        ("MRU", [1, 2, 4, 3]),
    ],
)
def test_policy__some_used_again__evicts_in_its_order(name: str, order: list[int]) -> None:
    policy = POLICIES[name]()
    for number in (1, 2, 3, 4):
        policy.insert(key(number))
    for number in (2, 1):
        policy.touch(key(number))
    assert list(policy.coldest_first()) == [key(number) for number in order]


def test_lfu__used_often_long_ago__outlives_what_was_used_once_just_now() -> None:
    policy = POLICIES["LFU"]()
    policy.insert(key(1))
    for _ in range(3):
        policy.touch(key(1))
    policy.insert(key(2))
    policy.touch(key(2))
    policy.insert(key(3))
    assert list(policy.coldest_first()) == [key(3), key(2), key(1)]


def test_policies__all__can_be_configured() -> None:
    assert KEYS["cache_policy"].choices == tuple(POLICIES)


@pytest.mark.parametrize("name", list(POLICIES))
@given(steps=st.lists(st.tuples(st.sampled_from("itr"), st.integers(0, 5))))
def test_policy__any_steps__names_each_stored_key_once(
    name: str, steps: list[tuple[str, int]]
) -> None:
    policy = POLICIES[name]()
    stored: set[ChunkKey] = set()
    for step, number in steps:
        if step == "i" and key(number) not in stored:
            policy.insert(key(number))
            stored.add(key(number))
        elif step == "t" and key(number) in stored:
            policy.touch(key(number))
        elif step == "r" and key(number) in stored:
            policy.remove(key(number))
            stored.discard(key(number))
    order = list(policy.coldest_first())
    assert len(order) == len(stored)
    assert set(order) == stored
