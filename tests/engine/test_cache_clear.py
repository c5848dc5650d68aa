"""Clearing while requests move chunks between the tiers."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cache import CacheEngine
from engine.contract import SlotRun
from engine.storage.connectors.fs import FsConnector
from tests.support.waiting import eventually

BuildEngine = Callable[..., CacheEngine]

WAIT = 30.0
MEMORY, DISK, REMOTE = "LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"
ALL = [SlotRun(0, 31)]


@pytest.fixture
def engine(build_engine: BuildEngine, tmp_path: Path) -> Iterator[CacheEngine]:
    """All three tiers, and four chunks in each."""
    built = build_engine(
        local_disk=str(tmp_path / "disk"),
        max_local_disk_size=0.01,
        remote_url=f"fs://{tmp_path}/shared",
    )
    built.store(range(32), ALL, "s")
    assert built.storage.flush(WAIT)
    yield built
    built.close()


class HeldClear:
    """Clears in another thread, and is held before the remote store is cleared, when the
    tiers above it are."""

    def __init__(self, engine: CacheEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached, self._go_on = threading.Event(), threading.Event()
        clear = FsConnector.clear

        def held(connector: FsConnector) -> Iterator[int]:
            self._reached.set()
            assert self._go_on.wait(WAIT)
            return clear(connector)

        monkeypatch.setattr(FsConnector, "clear", held)
        self.removed: dict[str, int] = {}
        self._thread = threading.Thread(target=lambda: self.removed.update(engine.clear()))
        self._thread.start()
        assert self._reached.wait(WAIT)

    def finish(self) -> None:
        self._go_on.set()
        self._thread.join()


def test_clear__chunks_come_up_from_a_tier_that_is_cleared_later__do_not_outlive_it(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear = HeldClear(engine, monkeypatch)
    assert engine.retrieve(range(32), ALL, "r").num_retrieved == 32
    clear.finish()
    assert engine.lookup(range(32)) == 0
    assert engine.usage()[MEMORY].used_bytes == 0


def test_clear__such_chunks_are_stored_again_meanwhile__reach_no_tier_that_was_cleared(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear = HeldClear(engine, monkeypatch)
    assert engine.retrieve(range(32), ALL, "r").num_retrieved == 32
    engine.store(range(32), ALL, "s")
    clear.finish()
    assert engine.storage.flush(WAIT)
    assert engine.lookup(range(32)) == 0
    assert engine.usage()[DISK].chunks == 0


def test_clear__store_begins_meanwhile_and_ends_afterwards__leaves_nothing_old_behind(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear = HeldClear(engine, monkeypatch)
    assert engine.retrieve(range(32), ALL, "r").num_retrieved == 32
    reached, go_on = threading.Event(), threading.Event()
    gather = engine.kv_cache.gather

    def held(runs: list[SlotRun], chunk: object) -> None:
        reached.set()
        assert go_on.wait(WAIT)
        gather(runs, chunk)

    monkeypatch.setattr(engine.kv_cache, "gather", held)
    # The last chunk is new, so that the store waits with the old ones in its hands.
    storing = threading.Thread(
        target=engine.store, args=(range(40), [SlotRun(0, 39)], "s"), daemon=True
    )
    storing.start()
    assert reached.wait(WAIT)
    clear.finish()
    go_on.set()
    storing.join()
    assert engine.storage.flush(WAIT)
    assert engine.lookup(range(40)) == 0


def test_clear__two_at_once__both_end_and_stores_are_taken_afterwards(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = HeldClear(engine, monkeypatch)
    second = threading.Thread(target=engine.clear, args=([DISK],))
    second.start()
    first.finish()
    second.join()
    assert engine.store(range(32), ALL, "s").num_stored == 32
    assert engine.storage.flush(WAIT)
    eventually(lambda: engine.usage()[DISK].chunks == 4)
    engine.clear([MEMORY])
    assert engine.lookup(range(32)) == 32


def test_clear__remote_store_alone__lets_memory_fill_the_disk_meanwhile(
    engine: CacheEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.clear([DISK])
    reached, go_on = threading.Event(), threading.Event()
    clear = FsConnector.clear

    def held(connector: FsConnector) -> Iterator[int]:
        reached.set()
        assert go_on.wait(WAIT)
        return clear(connector)

    monkeypatch.setattr(FsConnector, "clear", held)
    clearing = threading.Thread(target=engine.clear, args=([REMOTE],))
    clearing.start()
    assert reached.wait(WAIT)
    engine.store(range(32), ALL, "s")
    eventually(lambda: engine.usage()[DISK].chunks == 4)
    go_on.set()
    clearing.join()
    assert engine.usage()[MEMORY].chunks == 4
