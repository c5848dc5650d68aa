"""The disk tier on real files: damage, full disks, restarts, eviction."""

import os
import threading
from pathlib import Path

import pytest

from engine.storage import Count, Drop, Lease
from engine.storage.local_disk import DirectIO, DirectoryInUse, FsyncPolicy
from tests.support.waiting import eventually

from .disks import FILE_BYTES, WAIT, OpenDisk, file_of, files, reopen


@pytest.mark.parametrize("direct_io", list(DirectIO))
@pytest.mark.parametrize("fsync", list(FsyncPolicy))
def test_disk__stored_and_reopened__gives_back_every_byte(
    open_disk: OpenDisk, direct_io: DirectIO, fsync: FsyncPolicy
) -> None:
    disk = open_disk(direct_io=direct_io, fsync=fsync)
    disk.store(1, 2, 3)
    assert all(disk.load(number) for number in (1, 2, 3))
    disk = reopen(disk, open_disk, direct_io=direct_io, fsync=fsync)
    assert disk.held(1, 2, 3, 4) == [1, 2, 3]
    assert all(disk.load(number) for number in (1, 2, 3))
    assert not disk.load(4)
    assert disk.backend.usage().used_bytes == 3 * FILE_BYTES


def test_disk__chunk_that_is_there__is_not_written_again(open_disk: OpenDisk) -> None:
    disk = open_disk()
    disk.store(1)
    disk.store(1)
    assert disk.counted(Count.STORED_CHUNKS) == 1


@pytest.mark.parametrize(("policy", "gone"), [("LRU", 2), ("FIFO", 1), ("LFU", 2), ("MRU", 1)])
def test_disk__full__evicts_by_policy_and_never_holds_more(
    open_disk: OpenDisk, tmp_path: Path, policy: str, gone: int
) -> None:
    disk = open_disk(chunks=3, policy=policy)
    disk.store(1, 2, 3)
    disk.load(3)
    disk.load(1)
    disk.store(4)
    assert disk.held(1, 2, 3, 4) == [number for number in (1, 2, 3, 4) if number != gone]
    assert len(files(tmp_path)) == 3
    assert sum(disk.backend.tally.snapshot().eviction_age_s.counts) == 1


def test_disk__smaller_after_a_restart__keeps_the_youngest(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk()
    disk.store(1, 2, 3, 4)
    for age, number in enumerate((4, 3, 2, 1)):
        os.utime(file_of(tmp_path, number), (1_000_000 - age, 1_000_000 - age))
    disk = reopen(disk, open_disk, chunks=2)
    assert disk.held(1, 2, 3, 4) == [3, 4]
    assert len(files(tmp_path)) == 2


def test_disk__chunk_larger_than_its_share__is_dropped(open_disk: OpenDisk) -> None:
    disk = open_disk(chunks=0)
    disk.offer(1)
    disk.backend.flush(WAIT)
    eventually(lambda: disk.dropped(Drop.TOO_LARGE) == 1)


def test_disk__same_namespace_twice__is_refused(open_disk: OpenDisk, tmp_path: Path) -> None:
    open_disk()
    with pytest.raises(DirectoryInUse, match="disk"):
        open_disk()


def test_disk__queue_full__drops_at_once_and_counts(
    open_disk: OpenDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk(queue_chunks=2)
    gate = Gate(monkeypatch)
    assert disk.offer(1)
    assert gate.reached.wait(WAIT)
    outcomes = [disk.offer(number) for number in (2, 3, 4)]
    assert outcomes.count(False) >= 1
    assert disk.dropped(Drop.QUEUE_FULL) == outcomes.count(False)
    gate.open.set()
    assert disk.backend.flush(WAIT)
    assert disk.held(1) == [1]


class Gate:
    """Holds up writes after the bytes and before the name, as a slow disk would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from engine.storage.chunk_folder import ChunkFolder

        self.reached = threading.Event()
        self.open = threading.Event()
        write = ChunkFolder.write

        def slow_write(folder: ChunkFolder, lease: Lease) -> Path:
            temporary = write(folder, lease)
            self.reached.set()
            assert self.open.wait(WAIT)
            return temporary

        monkeypatch.setattr(ChunkFolder, "write", slow_write)


@pytest.mark.parametrize("mode", ["freeze", "clear"])
def test_disk__write_in_flight__is_not_published_after(
    open_disk: OpenDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    disk = open_disk()
    gate = Gate(monkeypatch)
    assert disk.offer(1)
    assert gate.reached.wait(WAIT)
    disk.offer(2)
    getattr(disk.backend, mode)()
    gate.open.set()
    assert disk.backend.flush(WAIT)
    assert disk.held(1, 2) == []
    assert files(tmp_path) == list(tmp_path.rglob("*.tmp-*")) == []
    assert disk.dropped(Drop.FROZEN) + disk.dropped(Drop.CLEARED) == 2
    if mode == "freeze":
        assert not disk.offer(3)
        disk.backend.unfreeze()
    disk.store(3)
    assert disk.load(3)


def test_disk__frozen__loads_do_not_reorder(open_disk: OpenDisk) -> None:
    disk = open_disk(chunks=2)
    disk.store(1, 2)
    disk.backend.freeze()
    assert disk.load(1)
    disk.backend.unfreeze()
    disk.store(3)
    assert disk.held(1, 2, 3) == [2, 3]


def test_disk__another_list_of_directories__loses_nothing(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk(tmp_path / "a", tmp_path / "b")
    disk.store(*range(1, 9))
    disk.backend.close()
    disk = open_disk(tmp_path / "b", tmp_path / "a", tmp_path / "c")
    assert len(disk.held(*range(1, 9))) == 8


def test_disk__closed__takes_nothing_and_closes_again(open_disk: OpenDisk) -> None:
    disk = open_disk()
    disk.store(1)
    disk.backend.close()
    disk.backend.close()
    assert not disk.offer(2)
    assert disk.dropped(Drop.CLOSED) == 1
