"""Chunks by their hashes, as the vLLM connector stores and retrieves them."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.cache import CacheEngine, SlotCountMismatch
from engine.contract import SlotRun
from engine.device import SlotOutOfBounds
from engine.tokens import ChunkKeyMaker, as_token_array

from .caching import EVERYTHING, BuildEngine, head

CHUNK, NUM_CHUNKS = 8, 8


def hashes_of(engine: CacheEngine) -> list[bytes]:
    keys = ChunkKeyMaker(engine.metadata).make(as_token_array(range(CHUNK * NUM_CHUNKS)))
    return [key.chunk_hash for key in keys]


def read(engine: CacheEngine, runs: list[SlotRun]) -> torch.Tensor:
    num_tokens = sum(run.last - run.first + 1 for run in runs)
    kv = torch.empty(engine.kv_cache.spec.chunk_shape(num_tokens))
    engine.kv_cache.gather(runs, kv)
    return kv


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    num_hashes=st.integers(0, NUM_CHUNKS),
    num_stored=st.integers(0, NUM_CHUNKS),
    offset=st.integers(0, 70),
    num_tokens=st.integers(0, 64),
    first_slot=st.integers(0, 64),
)
def test_retrieve_chunks__any_part_of_them__restores_that_part_and_nothing_else(
    build_engine: BuildEngine,
    num_hashes: int,
    num_stored: int,
    offset: int,
    num_tokens: int,
    first_slot: int,
) -> None:
    num_tokens = min(num_tokens, 64 - first_slot)
    runs = [SlotRun(first_slot, first_slot + num_tokens - 1)] if num_tokens else []
    engine = build_engine()
    hashes = hashes_of(engine)
    stored = hashes[:num_stored]
    result = engine.store_chunks(stored, head(len(stored) * CHUNK) if stored else [], "s")
    assert result == (len(stored) * CHUNK, len(stored) * CHUNK)
    good = read(engine, EVERYTHING)
    engine.kv_cache.fill_random(seed=9)
    expected = read(engine, EVERYTHING)
    if offset + num_tokens > num_hashes * CHUNK:
        with pytest.raises(SlotCountMismatch):
            engine.retrieve_chunks(hashes[:num_hashes], offset, runs, "r")
        num_retrieved = 0
    else:
        num_retrieved = max(0, min(num_tokens, len(stored) * CHUNK - offset))
        result = engine.retrieve_chunks(hashes[:num_hashes], offset, runs, "r")
        assert result == (num_tokens, num_retrieved)
    end = first_slot + num_retrieved
    expected[:, :, first_slot:end] = good[:, :, offset : offset + num_retrieved]
    assert torch.equal(read(engine, EVERYTHING), expected)


def test_store_and_retrieve_chunks__bad_slots__change_nothing(build_engine: BuildEngine) -> None:
    engine = build_engine()
    hashes = hashes_of(engine)
    before = read(engine, EVERYTHING)
    with pytest.raises(SlotCountMismatch):
        engine.store_chunks(hashes, head(63), "s")
    with pytest.raises(SlotOutOfBounds):
        engine.store_chunks(hashes[:1], [SlotRun(60, 67)], "s")
    with pytest.raises(SlotOutOfBounds):
        engine.retrieve_chunks(hashes[:1], 0, [SlotRun(60, 67)], "r")
    with pytest.raises(SlotCountMismatch):
        engine.retrieve_chunks(hashes, -1, head(8), "r")
    assert torch.equal(read(engine, EVERYTHING), before)
    assert engine.usage()["LocalCPUBackend"].chunks == 0
