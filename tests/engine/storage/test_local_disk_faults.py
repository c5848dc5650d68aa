"""Disks that fail, are full, or cannot be written: counted, left alone, used again."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.storage import BreakerState, Drop, Fault
from engine.storage.local_disk import DirectoryInUse
from tests.support.waiting import eventually

from .disks import FILE_BYTES, WAIT, Disk, OpenDisk, file_of, files


def test_disk__frozen_while_degraded__is_not_probed_until_unfrozen(
    open_disk: OpenDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk()
    probes: list[int] = []
    reserve = os.posix_fallocate

    def fail(*arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def note(descriptor: int, offset: int, length: int) -> None:
        probes.append(length)
        reserve(descriptor, offset, length)

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwritev", fail)
        broken.setattr(os, "posix_fallocate", fail)
        disk.offer(1)
        eventually(lambda: disk.breaker is BreakerState.OPEN)
        disk.backend.freeze()
        # A probe that had begun ends by itself, and nothing tells when.
        time.sleep(0.05)
    monkeypatch.setattr(os, "posix_fallocate", note)
    # Time for many probes: that there is none, only time can show.
    time.sleep(0.2)
    assert (probes, disk.breaker) == ([], BreakerState.OPEN)
    disk.backend.unfreeze()
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    assert probes == [FILE_BYTES]


def test_disk__two_directories_one_fails__the_other_goes_on(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk(tmp_path / "a", tmp_path / "b")
    disk.store(*range(1, 17))
    held_by_a = len(files(tmp_path / "a"))
    assert 0 < held_by_a < 16
    disk.backend.close()
    (tmp_path / "a").rename(tmp_path / "away")
    (tmp_path / "a").write_bytes(b"not a directory")
    disk = open_disk(tmp_path / "a", tmp_path / "b")
    assert disk.breaker is BreakerState.OPEN
    assert len(disk.held(*range(1, 17))) == 16 - held_by_a
    (tmp_path / "a").unlink()
    (tmp_path / "away").rename(tmp_path / "a")
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    eventually(lambda: len(disk.held(*range(1, 17))) == 16)


def fill_disk_of_little_room(directory: str, results: object) -> None:
    """In a process whose files may have 20 KiB: writes fail with EFBIG, as on a full
    disk with ENOSPC, until the limit is lifted."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES // 2, resource.RLIM_INFINITY))
    disk = Disk(Path(directory))
    disk.offer(1)
    disk.backend.flush(WAIT)
    eventually(lambda: disk.breaker is BreakerState.OPEN)
    facts = {
        "write faults": disk.fault(Fault.WRITE),
        "held": disk.held(1),
        "released": disk.released,
        "taken while degraded": disk.offer(2),
        "dropped": disk.dropped(Drop.DEGRADED),
        "leftovers": len([p for p in Path(directory).rglob("*") if "tmp" in p.name]),
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    disk.store(3)
    facts["held after"] = disk.held(1, 2, 3)
    disk.backend.close()
    results.send(facts)


def test_disk__no_room_left__degrades_and_recovers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=fill_disk_of_little_room, args=(str(tmp_path), there))
    process.start()
    assert here.poll(120)
    assert here.recv() == {
        "write faults": 1,
        "held": [],
        "released": 1,
        "taken while degraded": False,
        "dropped": 1,
        "leftovers": 0,
        "held after": [3],
    }
    process.join()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_disk__write_fails__is_counted_and_recovers(
    open_disk: OpenDisk, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    disk = open_disk()

    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwritev", fail)
        broken.setattr(os, "posix_fallocate", fail)
        disk.offer(1)
        assert disk.backend.flush(WAIT)
        eventually(lambda: disk.breaker is BreakerState.OPEN)
        assert disk.fault(Fault.WRITE) == 1
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    disk.store(1)
    assert disk.load(1)


def test_disk__read_fails__is_a_counted_miss(
    open_disk: OpenDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk()
    disk.store(1)

    def fail(*arguments: object) -> int:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as broken:
        broken.setattr(os, "preadv", fail)
        assert not disk.load(1)
    assert disk.fault(Fault.READ) == 1
    eventually(lambda: disk.breaker is BreakerState.CLOSED)


def test_disk__file_cannot_be_removed__the_others_make_room_and_it_still_counts(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk(chunks=3)
    disk.store(1, 2, 3)
    stuck = file_of(tmp_path, 1)
    stuck.unlink()
    # Nobody removes a directory with unlink(2), whoever they are.
    (stuck / "full").mkdir(parents=True)
    disk.offer(4)
    eventually(lambda: disk.fault(Fault.WRITE) == 1)
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    disk.store(5)
    disk.store(6)
    assert disk.held(1, 2, 3, 4, 5, 6) == [5, 6]
    assert disk.backend.usage().used_bytes == 3 * FILE_BYTES
    (stuck / "full").rmdir()
    stuck.rmdir()
    disk.store(7, 8)
    assert disk.held(5, 6, 7, 8) == [6, 7, 8]
    assert disk.backend.usage().used_bytes == 3 * FILE_BYTES


@pytest.mark.parametrize("chunks", [1, 3])
def test_disk__no_file_can_be_removed__holds_no_more_than_it_may(
    open_disk: OpenDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    disk = open_disk(chunks=chunks)
    first = range(1, chunks + 1)
    disk.store(*first)
    unlink = Path.unlink

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if path.suffix == ".kvchunk":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", refuse)
        for attempt in range(chunks + 2):
            eventually(lambda: disk.breaker is BreakerState.CLOSED)
            disk.offer(10 + attempt)
            assert disk.backend.flush(WAIT)
            assert len(files(tmp_path)) == chunks
            assert disk.backend.usage().used_bytes == chunks * FILE_BYTES
        assert disk.fault(Fault.WRITE) == chunks + 2
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    disk.store(*first)
    assert disk.held(*first) == list(first)
    assert len(files(tmp_path)) == chunks
    assert disk.backend.usage().used_bytes == chunks * FILE_BYTES


def test_disk__unreadable_file_cannot_be_removed__still_counts(
    open_disk: OpenDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk(chunks=2)
    disk.store(1, 2)

    def fail(*arguments: object, **named: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "preadv", fail)
        broken.setattr(Path, "unlink", fail)
        assert not disk.load(1)
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    assert disk.held(1, 2) == [2]
    assert disk.backend.usage().used_bytes == 2 * FILE_BYTES
    disk.store(3)
    assert disk.held(1, 2, 3) == [2, 3]
    assert len(files(tmp_path)) == 2


class HeldRead:
    """Loads a chunk in another thread, which is held once the file is open."""

    def __init__(self, disk: Disk, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached, self._go_on = threading.Event(), threading.Event()
        read = os.preadv

        def held(*arguments: object) -> int:
            self._reached.set()
            assert self._go_on.wait(WAIT)
            return read(*arguments)

        monkeypatch.setattr(os, "preadv", held)
        self._thread = threading.Thread(target=disk.load, args=(number,))
        self._thread.start()
        assert self._reached.wait(WAIT)

    def finish(self) -> None:
        self._go_on.set()
        self._thread.join()


def test_disk__frozen_while_a_broken_file_is_read__stays_as_it_is_until_unfrozen(
    open_disk: OpenDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk()
    disk.store(1, 2)
    broken, empty = file_of(tmp_path, 1), file_of(tmp_path, 2)
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    before = files(tmp_path)
    for number in (1, 2):
        disk.backend.unfreeze()
        read = HeldRead(disk, number, monkeypatch)
        disk.backend.freeze()
        if number == 2:
            empty.write_bytes(b"")
        read.finish()
        assert files(tmp_path) == before
        assert disk.held(1, 2) == [1, 2]
    assert disk.fault(Fault.CORRUPT) == 2
    disk.backend.unfreeze()
    assert not disk.load(1)
    assert not disk.load(2)
    assert (files(tmp_path), disk.held(1, 2)) == ([], [])


def test_disk__cleared_while_a_chunk_is_about_to_be_read__is_a_miss_and_no_fault(
    open_disk: OpenDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk()
    disk.store(1)
    open_file = os.open

    def clear_first(*arguments: object) -> int:
        monkeypatch.setattr(os, "open", open_file)
        assert disk.backend.clear() == 1
        return open_file(*arguments)

    monkeypatch.setattr(os, "open", clear_first)
    assert not disk.load(1)
    assert disk.fault(Fault.READ) == 0


def test_disk__name_is_no_text__is_used_like_any_other(open_disk: OpenDisk, tmp_path: Path) -> None:
    disk = open_disk(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")))
    disk.store(1)
    assert disk.load(1)


def test_disk__directory_removed_by_hand__is_made_anew_and_used(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk()
    disk.store(1)
    shutil.rmtree(tmp_path / "disk")
    assert disk.offer(2)
    eventually(lambda: disk.fault(Fault.WRITE) == 1)
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    assert disk.held(1, 2) == []
    assert disk.backend.usage().used_bytes == 0
    disk.store(3)
    assert disk.load(3)
    with pytest.raises(DirectoryInUse):
        open_disk()


def test_disk__cleared_while_the_device_refuses__removes_the_files_before_it_is_used_again(
    open_disk: OpenDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk()
    disk.store(1, 2)

    def fail(*arguments: object, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", fail)
        broken.setattr(Path, "unlink", fail)
        assert disk.backend.clear() == 2
        assert disk.breaker is BreakerState.OPEN
        assert disk.held(1, 2) == []
        assert len(files(tmp_path)) == 2
    eventually(lambda: disk.breaker is BreakerState.CLOSED)
    assert files(tmp_path) == []
    assert disk.held(1, 2) == []
    disk.store(1)
    assert disk.load(1)


def test_disk__no_directory_can_be_used__is_an_error_that_leaves_no_thread(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="file"):
        open_disk(tmp_path / "file", tmp_path / "file" / "below")
    eventually(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for three chunk files and a half."""
    place = tmp_path / "little"
    place.mkdir()
    size = 3 * FILE_BYTES + FILE_BYTES // 2
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_disk__file_system_full__stays_degraded_until_there_is_room(
    open_disk: OpenDisk, little_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "engine.storage.breaker")
    others = little_disk / "others"
    others.write_bytes(bytes(FILE_BYTES))
    disk = open_disk(little_disk)
    try:
        disk.store(1, 2)
        assert disk.offer(3)
        eventually(lambda: disk.breaker is BreakerState.OPEN)
        assert disk.backend.flush(WAIT)
        assert (disk.fault(Fault.WRITE), disk.dropped(Drop.FAILED)) == (1, 1)
        eventually(lambda: caplog.text.count("is still unwell") >= 3)
        assert "is well again" not in caplog.text
        assert not disk.offer(4)
        others.unlink()
        eventually(lambda: disk.breaker is BreakerState.CLOSED)
        assert disk.load(1)
        disk.store(3)
        assert disk.load(3)
    finally:
        disk.backend.close()


def test_disk__read_only_file_system__is_refused_at_the_start(
    open_disk: OpenDisk, little_disk: Path
) -> None:
    disk = open_disk(little_disk)
    disk.store(1)
    disk.backend.close()
    subprocess.run(["mount", "-o", "remount,ro", str(little_disk)], check=True)
    with pytest.raises(OSError, match="Read-only"):
        open_disk(little_disk)
