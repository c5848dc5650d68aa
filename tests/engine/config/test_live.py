"""Every key that says that a change applies now: the behaviour changed."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cache import CacheEngine, Phase
from engine.config import EngineConfig
from engine.config.key import Applies, FixedBecause
from engine.config.settings import KEYS
from engine.contract import SlotRun
from engine.storage import BreakerState, GrowingPool, HostMemory, Pages
from engine.storage.connectors.fs import FsConnector
from engine.storage.memory import PAGE_BYTES
from engine.storage.pinning import NoPinning
from tests.engine.conftest import BuildEngine
from tests.support.waiting import eventually

WAIT = 30.0
LIVE = {
    "lazy_memory_expand_trigger_ratio",
    "lazy_memory_step_ratio",
    "remote_serde",
    "retrieve_locations",
    "store_location",
    "blocking_timeout_secs",
    "breaker_failure_threshold",
    "breaker_probe_interval_secs",
    "save_decode_cache",
    "save_unfull_chunk",
    "min_retrieve_tokens",
}
"""Each has a test below that fails if the key does nothing."""
LIVE_IN_LOOKUPS = {
    "pin_timeout_sec",
    "pin_check_interval_sec",
    "lookup_timeout_ms",
    "chunk_statistics_auto_exit_timeout_hours",
    "chunk_statistics_auto_exit_target_unique_chunks",
}
"""Each has such a test in tests/engine/lookup/test_live.py."""


def test_keys__live_ones__are_those_that_are_tested_here() -> None:
    assert {name for name, key in KEYS.items() if key.change is Applies.NOW} == (
        LIVE | LIVE_IN_LOOKUPS
    )


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if not key.mutable])
def test_keys__fixed_ones__are_refused_and_say_why(name: str) -> None:
    key = KEYS[name]
    config = EngineConfig.load()
    update = config.update({name: key.default})
    assert update.errors == {name: "Config is not mutable at runtime"}
    described = config.schema()["keys"][name]
    assert isinstance(key.change, FixedBecause)
    assert described["help"].endswith(key.change.value)
    assert (described["mutable"], described["applies"]) == (False, "never")


@pytest.fixture
def engine(build_engine: BuildEngine, tmp_path: Path) -> Iterator[CacheEngine]:
    engine = build_engine(
        local_disk=str(tmp_path / "disk"),
        max_local_disk_size=0.01,
        remote_url=f"fs://{tmp_path}/shared",
    )
    yield engine
    engine.close()


def set_live(engine: CacheEngine, **changes: object) -> None:
    update = engine.config.update(changes)
    assert update.errors == {}


def head(num_tokens: int) -> list[SlotRun]:
    return [SlotRun(0, num_tokens - 1)]


def held(engine: CacheEngine) -> dict[str, int]:
    assert engine.storage.flush(WAIT)
    return {name: usage.chunks for name, usage in engine.usage().items()}


def shared_files(directory: Path) -> list[Path]:
    return list((directory / "shared").rglob("*.kvchunk"))


def test_store_location__changed__only_that_backend_is_written(engine: CacheEngine) -> None:
    set_live(engine, store_location="LocalDiskBackend")
    assert engine.store(range(8), head(8), "r").num_stored == 8
    assert held(engine) | {"RemoteBackend": 0} == {
        "LocalCPUBackend": 0,
        "LocalDiskBackend": 1,
        "RemoteBackend": 0,
    }
    set_live(engine, store_location=None)
    engine.store(range(8), head(8), "r")
    assert held(engine)["LocalCPUBackend"] == 1


def test_retrieve_locations__changed__the_others_are_not_read(engine: CacheEngine) -> None:
    set_live(engine, store_location="LocalDiskBackend")
    engine.store(range(8), head(8), "r")
    assert engine.storage.flush(WAIT)
    set_live(engine, retrieve_locations=["LocalCPUBackend", "RemoteBackend"])
    assert engine.lookup(range(8)) == 0
    set_live(engine, retrieve_locations=None)
    assert engine.lookup(range(8)) == 8


def test_remote_serde__changed__new_chunks_are_written_so_and_old_ones_still_read(
    engine: CacheEngine, tmp_path: Path
) -> None:
    engine.kv_cache.layers["model.layers.0"].zero_()
    set_live(engine, store_location="RemoteBackend", retrieve_locations=["RemoteBackend"])
    engine.store(range(8), head(8), "r")
    assert engine.storage.flush(WAIT)
    (first,) = shared_files(tmp_path)
    set_live(engine, remote_serde="zstd")
    engine.store(range(16), head(16), "r")
    assert engine.storage.flush(WAIT)
    (second,) = set(shared_files(tmp_path)) - {first}
    assert second.stat().st_size < first.stat().st_size
    assert engine.retrieve(range(16), head(16), "r").num_retrieved == 16


def test_save_unfull_chunk__changed__the_last_part_is_stored(engine: CacheEngine) -> None:
    assert engine.store(range(12), head(12), "r").num_stored == 8
    set_live(engine, save_unfull_chunk=True)
    assert engine.store(range(12), head(12), "r").num_stored == 4


def test_save_decode_cache__changed__decoded_tokens_are_stored(engine: CacheEngine) -> None:
    assert engine.store(range(8), head(8), "r", Phase.DECODE).num_stored == 0
    set_live(engine, save_decode_cache=True)
    assert engine.store(range(8), head(8), "r", Phase.DECODE).num_stored == 8


def test_min_retrieve_tokens__changed__shorter_prefixes_are_left_alone(
    engine: CacheEngine,
) -> None:
    engine.store(range(8), head(8), "r")
    set_live(engine, min_retrieve_tokens=9)
    assert engine.retrieve(range(16), head(16), "r").num_retrieved == 0
    set_live(engine, min_retrieve_tokens=8)
    assert engine.retrieve(range(16), head(16), "r").num_retrieved == 8


class Hanging:
    """Makes the remote store hang, as a mount whose server is gone does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.released = threading.Event()
        self.asked = 0
        monkeypatch.setattr(FsConnector, "contains", self.hang)

    def hang(self, keys: object) -> int:
        self.asked += 1
        assert self.released.wait(WAIT)
        return 0


def test_blocking_timeout_secs__changed__requests_wait_so_long(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging(monkeypatch)
    set_live(engine, blocking_timeout_secs=0.05)
    started = time.monotonic()
    assert engine.lookup(range(8)) == 0
    assert 0.05 <= time.monotonic() - started < 5
    set_live(engine, blocking_timeout_secs=0.5)
    started = time.monotonic()
    assert engine.lookup(range(8)) == 0
    assert time.monotonic() - started >= 0.5
    hanging.released.set()


def test_breaker_keys__changed__it_opens_and_probes_by_them(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging(monkeypatch)
    set_live(
        engine,
        blocking_timeout_secs=0.01,
        breaker_failure_threshold=2,
        breaker_probe_interval_secs=3600,
    )
    remote = engine.storage.backends["RemoteBackend"]
    engine.lookup(range(8))
    assert remote.state().breaker is BreakerState.CLOSED
    engine.lookup(range(8))
    assert remote.state().breaker is BreakerState.OPEN
    asked = hanging.asked
    engine.lookup(range(8))
    assert hanging.asked == asked
    hanging.released.set()
    # The hour that the prober waits was chosen when the breaker opened.
    assert remote.state().breaker is BreakerState.OPEN


def test_breaker_probe_interval__short__the_breaker_closes_again(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging(monkeypatch)
    set_live(
        engine,
        blocking_timeout_secs=0.5,
        breaker_failure_threshold=1,
        breaker_probe_interval_secs=0.02,
    )
    engine.lookup(range(8))
    remote = engine.storage.backends["RemoteBackend"]
    hanging.released.set()
    eventually(lambda: remote.state().breaker is BreakerState.CLOSED)


def test_lazy_memory_keys__changed__the_pool_grows_by_them() -> None:
    config = EngineConfig.load(
        flags={"lazy_memory_expand_trigger_ratio": 1.0, "lazy_memory_step_ratio": 0.1}
    )
    memory = HostMemory(20 * PAGE_BYTES, PAGE_BYTES, NoPinning(), Pages.NORMAL)
    memory.grow(10 * PAGE_BYTES)
    pool = GrowingPool(
        memory,
        PAGE_BYTES,
        20,
        trigger=lambda: config.lazy_memory_expand_trigger_ratio,
        step=lambda: config.lazy_memory_step_ratio,
    )
    for _ in range(5):
        assert pool.has_room()
        pool.allocate()
    assert pool.has_room()
    assert memory.ready == 10 * PAGE_BYTES
    config.update({"lazy_memory_expand_trigger_ratio": 0.5, "lazy_memory_step_ratio": 0.2})
    assert pool.has_room()
    eventually(lambda: memory.ready == 14 * PAGE_BYTES)
