"""Requests while the process is short of memory or threads: nothing is lost for good."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cache import CacheEngine
from engine.contract import SlotRun
from engine.lookup import Prompt
from engine.storage.local_disk import LocalDiskBackend
from engine.tokens import ChunkKeyMaker, as_token_array

BuildEngine = Callable[..., CacheEngine]

WAIT = 30.0
MEMORY = "LocalCPUBackend"
ALL = [SlotRun(0, 63)]
TOKENS = range(64)


@pytest.fixture
def engine(build_engine: BuildEngine, tmp_path: Path) -> Iterator[CacheEngine]:
    """Eight chunks on disk, of whole pages and so for direct I/O, and none in memory."""
    built = build_engine(
        chunks=32, head_size=32, local_disk=str(tmp_path / "disk"), max_local_disk_size=0.01
    )
    built.store(TOKENS, ALL, "s")
    assert built.storage.flush(WAIT)
    built.clear([MEMORY])
    yield built
    built.close()


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def prompt_of(engine: CacheEngine) -> Prompt:
    keys = ChunkKeyMaker(engine.metadata).make(as_token_array(TOKENS))
    return Prompt("p", len(TOKENS), 8, [key.chunk_hash for key in keys])


def memory_in_use(engine: CacheEngine) -> int:
    """Bytes of memory slots that hold no chunk of the hot cache."""
    usage = engine.usage()[MEMORY]
    slot_bytes = usage.capacity_bytes // engine.storage.local_cpu.most_chunks
    return usage.used_bytes - usage.chunks * slot_bytes + engine.storage.staging.used_bytes


@pytest.mark.parametrize("failing", [1, 2, 5])
@pytest.mark.parametrize("way", ["retrieve", "load"])
def test_tier__raises_for_want_of_memory__every_slot_comes_back(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch, way: str, failing: int
) -> None:
    calls: list[object] = []
    load = LocalDiskBackend.load

    def fail(backend: LocalDiskBackend, buffers: list[object]) -> int:
        calls.append(buffers)
        if len(calls) >= failing:
            raise MemoryError
        return load(backend, buffers)

    monkeypatch.setattr(LocalDiskBackend, "load", fail)
    with pytest.raises(MemoryError):
        if way == "retrieve":
            engine.retrieve(TOKENS, ALL, "r")
        else:
            engine.load(prompt_of(engine), lambda: True)
    assert memory_in_use(engine) == 0
    monkeypatch.undo()
    engine.clear([MEMORY])
    assert engine.usage()[MEMORY].used_bytes == 0
    assert engine.retrieve(TOKENS, ALL, "r").num_retrieved == 64


def test_retrieve__no_thread_can_be_had__every_bit_is_restored(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = engine.checksums(ALL, 8)
    engine.kv_cache.fill_random(seed=9)
    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", no_thread)
        assert engine.retrieve(TOKENS, ALL, "r").num_retrieved == 64
    assert engine.checksums(ALL, 8) == expected
    assert memory_in_use(engine) == 0


def test_lookup__no_thread_can_be_had__promises_nothing_that_would_stay_for_good(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.retrieve(TOKENS, ALL, "r")
    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", no_thread)
        assert engine.count(prompt_of(engine)) == 8
    assert engine.storage.holds.usage()[:2] == (0, 0)
    engine.clear([MEMORY])
    assert engine.usage()[MEMORY].used_bytes == 0
    # Later there are threads again.
    engine.retrieve(TOKENS, ALL, "r")
    assert engine.count(prompt_of(engine)) == 8
    assert engine.storage.holds.usage().chunks == 8
