import json
import logging
import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.cache import CacheEngine, SlotCountMismatch, TooManyTokens
from engine.contract import SlotRun, TokenRange
from engine.device import SlotOutOfBounds
from engine.storage import UnknownBackend
from engine.storage.payload import payload_of
from engine.tokens import ChunkKey, InvalidTokens

from .caching import EVERYTHING, BuildEngine, head

WAIT = 30.0
SCATTERED = [SlotRun(32, 39), SlotRun(4, 4), SlotRun(20, 30), SlotRun(0, 3), SlotRun(60, 63)]
"""28 slots: whole blocks, parts of blocks, single slots, not ascending."""


def frozen_state(engine: CacheEngine) -> tuple[list[ChunkKey], list[bytes], object]:
    """Everything that a freeze protects: keys in order of eviction, bytes, usage."""
    local_cpu = engine.storage.local_cpu
    keys = local_cpu.keys()
    contents = []
    for key in keys:
        pinned = local_cpu.pin([key])
        contents.append(bytes(payload_of(local_cpu.chunk(pinned[key]))))
        local_cpu.release(list(pinned.values()))
    return keys, contents, engine.usage()


class Gate:
    """Holds up the first gather of an engine, as a slow copy would."""

    def __init__(self, engine: CacheEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        gather = engine.kv_cache.gather

        def slow_gather(runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
            gather(runs, chunk)
            self.reached.set()
            assert self.open.wait(WAIT)

        monkeypatch.setattr(engine.kv_cache, "gather", slow_gather)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("shape", [{}, {"use_mla": True, "num_kv_heads": 1}], ids=["mha", "mla"])
@pytest.mark.parametrize("num_tokens", [8, 24, 27, 28])
def test_retrieve__cache_scrambled_since_the_store__restores_every_bit(
    build_engine: BuildEngine, dtype: str, shape: dict[str, object], num_tokens: int
) -> None:
    engine = build_engine(kv_dtype=dtype, save_unfull_chunk=True, **shape)
    runs = SCATTERED if num_tokens == 28 else head(num_tokens)
    before = engine.layerwise_checksums(runs, 8)
    assert engine.store(range(num_tokens), runs, "r") == (num_tokens, num_tokens)
    engine.kv_cache.fill_random(seed=2)
    assert engine.layerwise_checksums(runs, 8) != before
    assert engine.retrieve(range(num_tokens), runs, "r") == (num_tokens, num_tokens)
    assert engine.layerwise_checksums(runs, 8) == before


def test_retrieve__to_other_slots__moves_the_kv_there_and_nowhere_else(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine()
    before = engine.checksums(head(24), 24)
    engine.store(range(24), head(24), "r")
    untouched = engine.checksums([SlotRun(0, 31), SlotRun(56, 63)], 40)
    engine.retrieve(range(24), [SlotRun(32, 55)], "r")
    assert engine.checksums([SlotRun(32, 55)], 24) == before
    assert engine.checksums([SlotRun(0, 31), SlotRun(56, 63)], 40) == untouched


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.integers(1, 64),
    asked=st.integers(1, 64),
    unfull=st.sampled_from(["true", "false"]),
    slots=st.permutations(range(64)),
)
def test_retrieve__any_lengths__restores_the_shared_prefix_of_chunks(
    build_engine: BuildEngine, stored: int, asked: int, unfull: str, slots: list[int]
) -> None:
    engine = build_engine(save_unfull_chunk=unfull)
    runs = [SlotRun(slot, slot) for slot in slots]
    whole = stored - stored % 8
    num_stored = stored if unfull == "true" else whole
    expected = min(whole, asked - asked % 8)
    if unfull == "true" and asked == stored:
        expected = stored
    before = engine.layerwise_checksums(runs[:expected], 8)
    assert engine.store(range(stored), runs[:stored], "r").num_stored == num_stored
    engine.kv_cache.fill_random(seed=2)
    rest = engine.layerwise_checksums(runs[expected:], 8)
    assert engine.lookup(range(asked)) == expected
    assert engine.retrieve(range(asked), runs[:asked], "r") == (asked, expected)
    assert engine.layerwise_checksums(runs[:expected], 8) == before
    assert engine.layerwise_checksums(runs[expected:], 8) == rest


def test_store__tokens_differ_in_one__shares_the_chunks_before_it(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine()
    tokens = np.arange(32)
    engine.store(tokens, head(32), "r")
    tokens[17] = 99
    assert engine.lookup(tokens) == 16
    assert engine.store(tokens, head(32), "r").num_stored == 16


def test_store__chunks_present__stores_only_the_others(build_engine: BuildEngine) -> None:
    engine = build_engine()
    assert engine.store(range(16), head(16), "r").num_stored == 16
    assert engine.store(range(16), head(16), "r").num_stored == 0
    assert engine.store(range(32), head(32), "r").num_stored == 16


def test_store__pool_is_full__evicts_the_least_recently_used_request(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine(chunks=4)
    engine.store(range(0, 16), head(16), "a")
    engine.store(range(100, 116), head(16), "b")
    engine.retrieve(range(0, 16), head(16), "a")
    engine.store(range(200, 208), head(8), "c")
    assert engine.lookup(range(0, 16)) == 16
    assert engine.lookup(range(100, 116)) == 8
    assert engine.counters()["evicted_chunks"] == 1


def test_store__request_is_longer_than_the_pool__keeps_its_prefix(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine(chunks=4)
    engine.store(range(100, 116), head(16), "older")
    assert engine.store(range(64), EVERYTHING, "r") == (64, 32)
    assert engine.lookup(range(64)) == 32
    assert engine.counters()["stores_stopped_full"] == 1
    usage = engine.usage()["LocalCPUBackend"]
    assert (usage.chunks, usage.used_bytes) == (4, usage.capacity_bytes)


def test_lookup__of_the_coldest_request__does_not_save_it(build_engine: BuildEngine) -> None:
    engine = build_engine(chunks=2)
    engine.store(range(0, 8), head(8), "a")
    engine.store(range(100, 108), head(8), "b")
    assert engine.lookup(range(0, 8)) == 8
    engine.store(range(200, 208), head(8), "c")
    assert engine.lookup(range(0, 8)) == 0


def test_freeze__store_retrieve_lookup__change_no_bit_and_no_order(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine(chunks=4)
    engine.store(range(0, 16), head(16), "a")
    engine.store(range(100, 116), head(16), "b")
    engine.freeze()
    before = frozen_state(engine)
    assert engine.store(range(200, 216), head(16), "c") == (16, 0)
    assert engine.store(range(0, 16), head(16), "a") == (16, 0)
    assert engine.retrieve(range(0, 16), head(16), "a") == (16, 16)
    assert engine.lookup(range(0, 16)) == 16
    assert frozen_state(engine) == before
    engine.unfreeze()
    assert engine.store(range(200, 208), head(8), "c") == (8, 8)


@pytest.mark.parametrize("mode", ["freeze", "disable_hot_cache", "clear"])
def test_store__in_flight_when_the_mode_changes__admits_nothing_afterwards(
    build_engine: BuildEngine, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    engine = build_engine()
    engine.store(range(100, 108), head(8), "older")
    gate = Gate(engine, monkeypatch)
    results = []
    storing = threading.Thread(
        target=lambda: results.append(engine.store(range(16), head(16), "r"))
    )
    storing.start()
    assert gate.reached.wait(WAIT)
    getattr(engine, mode)()
    keys = engine.storage.local_cpu.keys()
    gate.open.set()
    storing.join(WAIT)
    assert results == [(16, 0)]
    assert engine.storage.local_cpu.keys() == keys
    usage = engine.usage()["LocalCPUBackend"]
    assert usage.used_bytes == len(keys) * usage.capacity_bytes // 16
    assert engine.lookup(range(16)) == 0


def test_freeze__retrieve_in_flight__does_not_reorder(
    build_engine: BuildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_engine()
    engine.store(range(0, 8), head(8), "a")
    engine.store(range(100, 108), head(8), "b")
    scatter = engine.kv_cache.scatter

    def freeze_meanwhile(chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        engine.freeze()
        scatter(chunk, runs)

    monkeypatch.setattr(engine.kv_cache, "scatter", freeze_meanwhile)
    before = engine.storage.local_cpu.keys()
    assert engine.retrieve(range(0, 8), head(8), "a").num_retrieved == 8
    assert engine.storage.local_cpu.keys() == before


def test_status_calls__while_bytes_move__do_not_wait(
    build_engine: BuildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_engine()
    gate = Gate(engine, monkeypatch)
    storing = threading.Thread(target=lambda: engine.store(range(8), head(8), "r"))
    storing.start()
    assert gate.reached.wait(WAIT)
    answered = threading.Event()

    def ask() -> None:
        engine.usage()
        engine.counters()
        engine.lookup(range(8))
        engine.freeze()
        engine.unfreeze()
        engine.retrieve(range(8), head(8), "other")
        answered.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert answered.wait(WAIT)
    assert storing.is_alive()
    gate.open.set()
    storing.join(WAIT)
    asking.join(WAIT)


def test_store__copy_fails__gives_its_memory_and_pins_back(
    build_engine: BuildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_engine(chunks=2)
    gather = engine.kv_cache.gather
    calls: list[int] = []

    def fail_second(runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("device lost")
        gather(runs, chunk)

    monkeypatch.setattr(engine.kv_cache, "gather", fail_second)
    with pytest.raises(RuntimeError, match="device lost"):
        engine.store(range(16), head(16), "r")
    assert engine.lookup(range(16)) == 8
    assert engine.store(range(100, 116), head(16), "r").num_stored == 16


def test_disable_hot_cache__empties_and_stops_writes_until_enabled(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine()
    engine.store(range(8), head(8), "r")
    engine.disable_hot_cache()
    assert not engine.hot_cache_enabled
    assert engine.usage()["LocalCPUBackend"].chunks == 0
    assert engine.store(range(8), head(8), "r").num_stored == 0
    engine.enable_hot_cache()
    assert engine.hot_cache_enabled
    assert engine.lookup(range(8)) == 0
    assert engine.store(range(8), head(8), "r").num_stored == 8


def test_clear__frozen_or_not__removes_and_counts_chunks(build_engine: BuildEngine) -> None:
    engine = build_engine()
    engine.store(range(24), head(24), "r")
    engine.freeze()
    assert engine.clear() == {"LocalCPUBackend": 3}
    assert engine.clear(["LocalCPUBackend"]) == {"LocalCPUBackend": 0}
    with pytest.raises(UnknownBackend, match="FooBackend"):
        engine.clear(["FooBackend"])


def test_store_mock__uses_the_first_slots_and_the_given_tokens(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine()
    assert engine.store_mock(TokenRange(10, 34)) == (24, 24)
    assert engine.lookup(range(10, 34)) == 24
    before = engine.checksums(head(24), 8)
    engine.kv_cache.fill_random(seed=2)
    assert engine.retrieve_mock(TokenRange(10, 34)) == (24, 24)
    assert engine.checksums(head(24), 8) == before


@pytest.mark.parametrize("end", [65, 10**18])
def test_mock__more_tokens_than_slots__is_refused_before_anything_moves(
    build_engine: BuildEngine, end: int
) -> None:
    engine = build_engine()
    with pytest.raises(TooManyTokens) as caught:
        engine.store_mock(TokenRange(0, end))
    assert (caught.value.num_tokens, caught.value.num_slots) == (end, 64)
    with pytest.raises(TooManyTokens):
        engine.retrieve_mock(TokenRange(0, end))
    assert engine.usage()["LocalCPUBackend"].chunks == 0


@pytest.mark.parametrize(
    ("tokens", "runs", "error"),
    [
        (range(16), head(8), SlotCountMismatch),
        (range(8), [SlotRun(60, 67)], SlotOutOfBounds),
        ([1.5], head(1), InvalidTokens),
    ],
)
def test_store_and_retrieve__bad_request__change_nothing(
    build_engine: BuildEngine,
    tokens: Sequence[int],
    runs: list[SlotRun],
    error: type[Exception],
) -> None:
    engine = build_engine()
    before = (engine.checksums(EVERYTHING, 64), engine.counters(), engine.usage())
    with pytest.raises(error):
        engine.store(tokens, runs, "r")
    with pytest.raises(error):
        engine.retrieve(tokens, runs, "r")
    assert (engine.checksums(EVERYTHING, 64), engine.counters(), engine.usage()) == before


def test_slot_logging__enabled__logs_one_structured_line_a_call(
    build_engine: BuildEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine = build_engine()
    caplog.set_level(logging.INFO, "engine.cache")
    engine.store(range(16), head(16), "before")
    engine.enable_slot_logging()
    assert engine.slot_logging
    engine.store(range(10), [SlotRun(0, 7), SlotRun(20, 21)], "req-1")
    engine.retrieve(range(8), head(8), "req-2")
    engine.disable_slot_logging()
    engine.retrieve(range(8), head(8), "after")
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert lines == [
        {
            "event": "kvcache_slots",
            "request_id": "req-1",
            "direction": "store",
            "num_tokens": 10,
            "slots": [[0, 7], 20, 21],
        },
        {
            "event": "kvcache_slots",
            "request_id": "req-2",
            "direction": "retrieve",
            "num_tokens": 8,
            "slots": [[0, 7]],
        },
    ]


def test_counters__names_are_all_there_from_the_start(build_engine: BuildEngine) -> None:
    engine = build_engine()
    at_start = engine.counters()
    assert set(at_start.values()) == {0}
    engine.store(range(12), head(12), "r")
    engine.retrieve(range(12), head(12), "r")
    counters = engine.counters()
    assert list(counters) == list(at_start)
    assert counters["stored_tokens"] == 8
    assert counters["requested_tokens"] == 12
    assert counters["retrieved_tokens"] == 8


def test_store_and_retrieve__many_threads__nothing_is_lost_or_mixed_up(
    build_engine: BuildEngine,
) -> None:
    engine = build_engine(chunks=6)
    failures: list[str] = []

    def work(worker: int) -> None:
        runs = [SlotRun(worker * 16, worker * 16 + 15)]
        tokens = range(worker * 1000, worker * 1000 + 16)
        expected = engine.checksums(runs, 8)
        for _ in range(60):
            engine.store(tokens, runs, f"w{worker}")
            engine.retrieve(tokens, runs, f"w{worker}")
            if engine.checksums(runs, 8) != expected:
                failures.append(f"worker {worker}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    engine.clear()
    assert engine.usage()["LocalCPUBackend"].used_bytes == 0


def test_close__drops_the_chunks_and_takes_no_more(build_engine: BuildEngine) -> None:
    engine = build_engine()
    engine.store(range(8), head(8), "r")
    engine.close()
    assert engine.usage()["LocalCPUBackend"].used_bytes == 0
    assert engine.store(range(8), head(8), "r").num_stored == 0


def test_kvcache_info_and_backends__describe_the_engine(build_engine: BuildEngine) -> None:
    engine = build_engine()
    assert engine.backends == ("LocalCPUBackend",)
    assert engine.kvcache_info()["model.layers.0"]["shape"] == [2, 16, 4, 2, 8]
