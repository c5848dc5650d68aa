"""The cache engine over memory, disk and a shared directory."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.cache import CacheEngine
from engine.config import ConfigError
from engine.contract import SlotRun
from engine.storage import BreakerState, Count, Fault, slot_stride
from engine.storage.connectors import ConnectorError
from engine.storage.connectors.fs import FsConnector
from engine.tokens import ChunkKeyMaker, as_token_array
from tests.support.waiting import eventually

BuildEngine = Callable[..., CacheEngine]

WAIT = 30.0
MEMORY, DISK, REMOTE = "LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"


@pytest.fixture
def build_tiers(build_engine: BuildEngine, tmp_path: Path) -> Iterator[BuildEngine]:
    """Builds engines with all three tiers, on the same directories each time."""
    built: list[CacheEngine] = []

    def build(**keys: object) -> CacheEngine:
        tiers: dict[str, object] = {
            "local_disk": str(tmp_path / "disk"),
            "max_local_disk_size": 0.01,
            "remote_url": f"fs://{tmp_path}/shared",
            **keys,
        }
        engine = build_engine(**{"chunks": 16, **tiers})
        built.append(engine)
        return engine

    yield build
    for engine in built:
        engine.close()


def head(num_tokens: int) -> list[SlotRun]:
    return [SlotRun(0, num_tokens - 1)]


def scramble_and_retrieve(engine: CacheEngine, num_tokens: int) -> int:
    engine.kv_cache.fill_random(seed=99)
    return engine.retrieve(range(num_tokens), head(num_tokens), "r").num_retrieved


def counted(engine: CacheEngine, tier: str, count: Count) -> float:
    return engine.storage.tallies()[tier].counts[count]


@pytest.mark.parametrize("tier", [DISK, REMOTE])
@pytest.mark.parametrize("serde", ["naive", "zstd"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_retrieve__after_a_restart__a_slower_tier_restores_every_bit(
    build_tiers: BuildEngine, tier: str, serde: str, dtype: str
) -> None:
    engine = build_tiers(remote_serde=serde, kv_dtype=dtype)
    expected = engine.checksums(head(32), 8)
    engine.store(range(32), head(32), "s")
    engine.close()
    engine = build_tiers(kv_dtype=dtype, retrieve_locations=[MEMORY, tier])
    assert scramble_and_retrieve(engine, 32) == 32
    assert engine.checksums(head(32), 8) == expected
    assert counted(engine, tier, Count.FOUND_CHUNKS) == 4
    # Written back: the second time it comes from memory.
    assert scramble_and_retrieve(engine, 32) == 32
    assert engine.checksums(head(32), 8) == expected
    assert counted(engine, tier, Count.FOUND_CHUNKS) == 4
    assert counted(engine, MEMORY, Count.FOUND_CHUNKS) == 4


def test_retrieve__prefix_lies_in_several_tiers__is_put_together(build_tiers: BuildEngine) -> None:
    engine = build_tiers()
    expected = engine.checksums(head(32), 8)
    engine.storage.bypass(REMOTE)
    engine.storage.bypass(MEMORY)
    engine.store(range(8), head(8), "disk")
    assert engine.storage.flush(WAIT)
    engine.storage.bypass(DISK)
    engine.storage.stop_bypass(REMOTE)
    engine.store(range(16), head(16), "remote")
    assert engine.storage.flush(WAIT)
    engine.storage.bypass(REMOTE)
    engine.storage.stop_bypass(MEMORY)
    engine.store(range(32), head(32), "memory")
    for name in (DISK, REMOTE):
        engine.storage.stop_bypass(name)
    keys = engine.storage.local_cpu.keys()
    engine.storage.bypass(MEMORY)
    assert engine.lookup(range(32)) == 16
    engine.storage.stop_bypass(MEMORY)
    assert scramble_and_retrieve(engine, 32) == 32
    assert engine.checksums(head(32), 8) == expected
    assert len(keys) == 4


def test_retrieve__longer_than_memory__streams_through_it(build_tiers: BuildEngine) -> None:
    engine = build_tiers(chunks=4, storage_queue_chunks=64)
    expected = engine.checksums(head(64), 8)
    for _ in range(20):
        engine.store(range(64), head(64), "s")
        assert engine.storage.flush(WAIT)
    assert engine.usage()[DISK].chunks == 8
    assert scramble_and_retrieve(engine, 64) == 64
    assert engine.checksums(head(64), 8) == expected
    assert engine.usage()[MEMORY].chunks == 3
    assert engine.storage.staging.used_bytes == 0


def test_store__longer_than_memory_and_stored_already__copies_and_counts_nothing(
    build_tiers: BuildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_tiers(chunks=4)
    for end in range(8, 72, 8):
        engine.storage.local_cpu.clear()
        engine.store(range(end), head(end), "s")
        assert engine.storage.flush(WAIT)
    engine.store(range(24), head(24), "s")
    assert engine.usage()[DISK].chunks == 8
    copied: list[object] = []
    monkeypatch.setattr(engine.kv_cache, "gather", lambda *arguments: copied.append(arguments))
    assert engine.store(range(64), head(64), "s").num_stored == 0
    assert copied == []
    assert sum(engine.storage.tallies()[DISK].drops.values()) == 0


def test_retrieve__chunk_breaks_on_disk__the_prefix_ends_there(
    build_tiers: BuildEngine, tmp_path: Path
) -> None:
    engine = build_tiers(remote_url=None)
    engine.store(range(32), head(32), "s")
    engine.close()
    engine = build_tiers(remote_url=None)
    third = ChunkKeyMaker(engine.metadata).make(as_token_array(range(32)))[2]
    (file,) = (tmp_path / "disk").rglob(f"{third.chunk_hash.hex()}*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert engine.lookup(range(32)) == 32
    assert scramble_and_retrieve(engine, 32) == 16
    assert engine.lookup(range(32)) == 16
    assert engine.storage.tallies()[DISK].faults[Fault.CORRUPT] == 1
    assert counted(engine, DISK, Count.QUARANTINED_FILES) == 1


def test_hot_cache_off__stores_and_retrieves_go_past_it(build_tiers: BuildEngine) -> None:
    engine = build_tiers(chunks=40)
    engine.disable_hot_cache()
    expected = engine.checksums(head(32), 8)
    assert engine.store(range(32), head(32), "s").num_stored == 32
    assert engine.storage.flush(WAIT)
    assert engine.store(range(32), head(32), "s").num_stored == 0
    assert scramble_and_retrieve(engine, 32) == 32
    assert engine.checksums(head(32), 8) == expected
    assert engine.usage()[MEMORY].used_bytes == 0


def test_freeze__writes_that_wait__do_not_happen(
    build_tiers: BuildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_tiers()
    engine.freeze()
    assert engine.store(range(32), head(32), "s").num_stored == 0
    engine.unfreeze()
    engine.store(range(16), head(16), "s")
    engine.freeze()
    assert engine.storage.flush(WAIT)
    before = {name: usage.chunks for name, usage in engine.usage().items()}
    disk_and_remote = [engine.storage.backends[name] for name in (DISK, REMOTE)]
    for backend in disk_and_remote:
        monkeypatch.setattr(backend, "contains", refuse)
        monkeypatch.setattr(backend, "load", refuse)
    assert scramble_and_retrieve(engine, 32) == 16
    assert engine.lookup(range(32)) == 16
    assert {name: usage.chunks for name, usage in engine.usage().items()} == before


def refuse(*arguments: object) -> None:
    raise AssertionError("a frozen engine asked a slower tier")


def test_bypass__memory__is_neither_read_nor_written_nor_reordered(
    build_tiers: BuildEngine,
) -> None:
    engine = build_tiers(chunks=40)
    engine.store(range(1000, 1032), head(32), "before")
    assert engine.storage.flush(WAIT)
    keys = engine.storage.local_cpu.keys()
    engine.bypass(MEMORY)
    engine.store(range(32), head(32), "s")
    assert engine.storage.flush(WAIT)
    assert scramble_and_retrieve(engine, 32) == 32
    assert engine.retrieve(range(1000, 1032), head(32), "r").num_retrieved == 32
    assert engine.storage.local_cpu.keys() == keys
    assert counted(engine, DISK, Count.FOUND_CHUNKS) == 8
    engine.stop_bypass(MEMORY)
    assert engine.retrieve(range(1000, 1032), head(32), "r").num_retrieved == 32
    assert counted(engine, MEMORY, Count.FOUND_CHUNKS) == 4


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"local_disk": "relative/path"}, "local_disk"),
        ({"local_disk": "/proc/nothing/there"}, "local_disk"),
        ({"max_local_disk_size": 0}, "max_local_disk_size"),
        ({"remote_url": "carrier-pigeon://home"}, "remote_url"),
        ({"remote_url": "redis://user:hunter2@"}, "remote_url"),
        ({"remote_url": "no-scheme"}, "remote_url"),
        ({"remote_serde": "cachegen"}, "remote_serde"),
        ({"cache_policy": "RANDOM"}, "cache_policy"),
        ({"retrieve_locations": ["Attic"]}, "retrieve_locations"),
        ({"chunks": 1}, "max_local_cpu_size"),
    ],
)
def test_build__tiers_cannot_be_had__names_the_key(
    build_tiers: BuildEngine, keys: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        build_tiers(**keys)
    assert "hunter2" not in str(caught.value)


def test_build__directory_in_use__is_refused_until_it_is_closed(build_tiers: BuildEngine) -> None:
    engine = build_tiers()
    with pytest.raises(ConfigError, match="local_disk"):
        build_tiers()
    engine.close()
    build_tiers()


@pytest.mark.slow
def test_engine__many_threads_and_modes__loses_no_pin_no_memory_and_no_byte(
    build_tiers: BuildEngine,
) -> None:
    """Eight threads store and retrieve requests that share prefixes, each through
    slots of its own, while a ninth turns every switch there is."""
    engine = build_tiers(chunks=7, num_blocks=64, max_local_disk_size=0.0001)
    spec = engine.kv_cache.spec
    good = torch.rand(spec.chunk_shape(32))
    noise = torch.rand(spec.chunk_shape(32))
    failures: list[str] = []
    restored: list[int] = []
    stop = threading.Event()

    def work(worker: int) -> None:
        numbers = random.Random(worker)
        slots = [SlotRun(worker * 32, worker * 32 + 31)]
        engine.kv_cache.scatter(good, slots)
        expected = engine.checksums(slots, 8)
        for _ in range(250):
            length = numbers.choice([8, 16, 24, 32])
            # The last chunk has other tokens from branch to branch; its KV is the same.
            branch = numbers.choice([0, 5000, 6000])
            tokens = [*range(length - 8), *range(branch + length - 8, branch + length)]
            part = [SlotRun(worker * 32, worker * 32 + length - 1)]
            engine.store(tokens, part, f"w{worker}")
            engine.kv_cache.scatter(noise, slots)
            num_retrieved = engine.retrieve(tokens, part, f"w{worker}").num_retrieved
            restored.append(num_retrieved)
            whole = num_retrieved // 8
            if engine.checksums(slots, 8)[:whole] != expected[:whole]:
                failures.append(f"worker {worker} got wrong bytes")
                return
            engine.kv_cache.scatter(good, slots)

    def turn_switches() -> None:
        numbers = random.Random(0)
        names = [MEMORY, DISK, REMOTE]
        switches: list[Callable[[], object]] = [
            engine.freeze,
            engine.unfreeze,
            engine.unfreeze,
            engine.disable_hot_cache,
            engine.enable_hot_cache,
            engine.clear,
            lambda: engine.bypass(numbers.choice(names)),
            lambda: engine.stop_bypass(numbers.choice(names)),
            lambda: engine.clear([numbers.choice(names)]),
            lambda: engine.config.update({"remote_serde": numbers.choice(["naive", "zstd"])}),
        ]
        while not stop.wait(0.002):
            numbers.choice(switches)()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    switching = threading.Thread(target=turn_switches)
    switching.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    switching.join()
    assert failures == []
    assert sum(restored) > len(restored)
    engine.unfreeze()
    for name in (MEMORY, DISK, REMOTE):
        engine.stop_bypass(name)
    assert engine.storage.flush(WAIT)
    for name in (DISK, REMOTE):
        tally = engine.storage.tallies()[name]
        assert tally.faults[Fault.CORRUPT] == tally.faults[Fault.FOREIGN] == 0
    usage = engine.usage()[MEMORY]
    stride = slot_stride(8 * spec.bytes_per_token)
    assert usage.used_bytes == usage.chunks * stride
    assert engine.storage.staging.used_bytes == 0
    engine.clear()
    assert engine.usage()[MEMORY].used_bytes == 0


class Counted:
    """Counts the calls of one of the connector's methods, which works as before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.calls = 0
        original = getattr(FsConnector, method)

        def counting(connector: FsConnector, *arguments: object) -> object:
            self.calls += 1
            return original(connector, *arguments)

        monkeypatch.setattr(FsConnector, method, counting)


def test_store__again__does_not_ask_the_remote_store_again(
    build_tiers: BuildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_tiers()
    asked, put = Counted(monkeypatch, "contains"), Counted(monkeypatch, "put")
    engine.store(range(32), head(32), "s")
    assert engine.storage.flush(WAIT)
    once = (asked.calls, put.calls)
    engine.store(range(32), head(32), "s")
    assert engine.storage.flush(WAIT)
    assert (asked.calls, put.calls) == once
    assert put.calls >= 1
    engine.clear([REMOTE])
    engine.store(range(32), head(32), "s")
    assert engine.storage.flush(WAIT)
    assert engine.usage()[REMOTE].chunks == 4


def test_retrieve__another_engine_removed_the_remote_chunks__they_are_stored_anew(
    build_tiers: BuildEngine, build_engine: BuildEngine, tmp_path: Path
) -> None:
    engine = build_tiers(local_disk=None)
    engine.store(range(32), head(32), "s")
    assert engine.storage.flush(WAIT)
    other = build_engine(remote_url=f"fs://{tmp_path}/shared")
    assert other.clear() == {MEMORY: 0, REMOTE: 4}
    other.close()
    engine.clear([MEMORY])
    assert engine.retrieve(range(32), head(32), "r").num_retrieved == 0
    engine.store(range(32), head(32), "s")
    assert engine.storage.flush(WAIT)
    engine.clear([MEMORY])
    assert engine.lookup(range(32)) == 32


def test_bypass__remote_store_that_is_left_alone__is_not_probed(
    build_tiers: BuildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_tiers(breaker_failure_threshold=1, breaker_probe_interval_secs=0.01)
    pings = Counted(monkeypatch, "ping")

    def fail(connector: FsConnector, keys: object) -> int:
        raise ConnectorError("it is gone")

    with monkeypatch.context() as failing:
        failing.setattr(FsConnector, "contains", fail)
        failing.setattr(FsConnector, "ping", lambda connector: fail(connector, ()))
        engine.lookup(range(8))
        assert engine.storage.tier_states()[REMOTE].breaker is BreakerState.OPEN
        engine.bypass(REMOTE)
        # A probe that had begun ends by itself, and nothing tells when.
        time.sleep(0.03)
    before = pings.calls
    # Time for ten probes: that there is none, only time can show.
    time.sleep(0.1)
    assert pings.calls == before
    assert engine.storage.tier_states()[REMOTE].breaker is BreakerState.OPEN
    engine.stop_bypass(REMOTE)
    eventually(lambda: engine.storage.tier_states()[REMOTE].breaker is not BreakerState.OPEN)
