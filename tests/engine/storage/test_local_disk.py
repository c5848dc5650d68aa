"""The disk tier on real files: damage, full disks, restarts, eviction."""

import errno
import mmap
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.device import KVCacheSpec
from engine.storage import (
    POLICIES,
    BreakerState,
    ChunkBuffer,
    ChunkLayout,
    Count,
    Drop,
    Fault,
    Lease,
)
from engine.storage.format import HEADER_ALIGNMENT, make_header
from engine.storage.local_disk import (
    DirectIO,
    DirectoryInUse,
    DiskSettings,
    FsyncPolicy,
    LocalDiskBackend,
)
from engine.tokens import ChunkKey
from tests.support.waiting import eventually

SPEC = KVCacheSpec(2, 2, 16, torch.float32, 4, 8, use_mla=False)
TOKENS = 16
LAYOUT = ChunkLayout("model@1@0@float32@KV_2LTD", SPEC)
CHUNK_BYTES = LAYOUT.chunk_bytes(TOKENS)
FILE_BYTES = CHUNK_BYTES + HEADER_ALIGNMENT
WAIT = 30.0


def key(number: int) -> ChunkKey:
    return ChunkKey(LAYOUT.namespace, (number * 0x9E3779B9).to_bytes(32, "little"))


def content(number: int) -> bytes:
    generator = torch.Generator().manual_seed(number)
    values = torch.rand(SPEC.chunk_shape(TOKENS), generator=generator)
    return values.numpy().tobytes()


def in_pages(data: bytes) -> memoryview:
    """The bytes in memory that direct I/O takes."""
    memory = memoryview(mmap.mmap(-1, len(data)))
    memory[:] = data
    return memory


class Disk:
    """A backend and the leases that it was given."""

    def __init__(
        self,
        *directories: Path,
        chunks: int = 64,
        policy: str = "LRU",
        fsync: FsyncPolicy = FsyncPolicy.NEVER,
        direct_io: DirectIO = DirectIO.ON,
        queue_chunks: int = 64,
        layout: ChunkLayout = LAYOUT,
    ) -> None:
        settings = DiskSettings(fsync, direct_io, queue_chunks, lambda: 1, lambda: 0.02)
        self.backend = LocalDiskBackend(
            directories, chunks * FILE_BYTES, layout, POLICIES[policy], settings
        )
        self.layout = layout
        self.offered = 0
        self.released = 0

    def offer(self, number: int) -> bool:
        self.offered += 1
        chunk_key = ChunkKey(self.layout.namespace, key(number).chunk_hash)
        payload = in_pages(content(number)).toreadonly()
        return self.backend.offer(Lease(chunk_key, TOKENS, payload, self._release))

    def _release(self) -> None:
        self.released += 1

    def store(self, *numbers: int) -> None:
        for number in numbers:
            assert self.offer(number)
            assert self.backend.flush(WAIT)
        eventually(lambda: self.released == self.offered)

    def held(self, *numbers: int) -> list[int]:
        there = self.backend.contains([key(number) for number in numbers])
        return [number for number, is_there in zip(numbers, there, strict=True) if is_there]

    def load(self, number: int) -> bool:
        """Whether it was read; then every byte is right."""
        buffer = in_pages(b"\xee" * CHUNK_BYTES)
        filled = self.backend.load([ChunkBuffer(key(number), TOKENS, buffer)])
        if filled:
            assert bytes(buffer) == content(number)
        return bool(filled)

    def counted(self, count: Count) -> float:
        return self.backend.tally.snapshot().counts[count]

    def fault(self, fault: Fault) -> int:
        return self.backend.tally.snapshot().faults[fault]

    def dropped(self, reason: Drop) -> int:
        return self.backend.tally.snapshot().drops[reason]

    @property
    def breaker(self) -> BreakerState:
        return self.backend.state().breaker


OpenDisk = Callable[..., Disk]


@pytest.fixture
def open_disk(tmp_path: Path) -> Iterator[OpenDisk]:
    opened: list[Disk] = []

    def open_one(*directories: Path, **settings: object) -> Disk:
        disk = Disk(*(directories or (tmp_path / "disk",)), **settings)
        opened.append(disk)
        return disk

    yield open_one
    for disk in opened:
        disk.backend.close()
        eventually(lambda disk=disk: disk.released == disk.offered)


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*.kvchunk") if path.parent.name != "quarantine")


def file_of(directory: Path, number: int) -> Path:
    (path,) = directory.rglob(f"{key(number).chunk_hash.hex()}.kvchunk")
    return path


def reopen(disk: Disk, open_disk: OpenDisk, **settings: object) -> Disk:
    disk.backend.close()
    return open_disk(**settings)


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


def flip(file: Path, position: int) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[position] ^= 0x10
    file.write_bytes(damaged)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "zero length": lambda file: file.write_bytes(b""),
    "ends in the fixed header": lambda file: os.truncate(file, 40),
    "ends in the header": lambda file: os.truncate(file, 2000),
    "header alone": lambda file: os.truncate(file, HEADER_ALIGNMENT),
    "ends in the payload": lambda file: os.truncate(file, FILE_BYTES - 1),
    "magic": lambda file: flip(file, 0),
    "version": lambda file: flip(file, 8),
    "header length": lambda file: flip(file, 13),
    "payload length": lambda file: flip(file, 24),
    "payload checksum": lambda file: flip(file, 33),
    "header checksum": lambda file: flip(file, 50),
    "description": lambda file: flip(file, 80),
    "payload begins": lambda file: flip(file, HEADER_ALIGNMENT),
    "payload ends": lambda file: flip(file, FILE_BYTES - 1),
    "not a chunk": lambda file: file.write_bytes(os.urandom(FILE_BYTES)),
    "another key's chunk": lambda file: file.write_bytes(whole_file(LAYOUT, 99)),
    "another shape": lambda file: file.write_bytes(whole_file(OTHER_SHAPE, 1)),
    "another model": lambda file: file.write_bytes(whole_file(OTHER_MODEL, 1)),
}
OTHER_SHAPE = ChunkLayout(
    LAYOUT.namespace, KVCacheSpec(2, 1, 32, torch.float16, 4, 8, use_mla=False)
)
OTHER_MODEL = ChunkLayout("another@1@0@float32@KV_2LTD", SPEC)


def whole_file(layout: ChunkLayout, number: int) -> bytes:
    payload = content(number)[: layout.chunk_bytes(TOKENS)]
    named = ChunkKey(layout.namespace, key(number).chunk_hash)
    return make_header(layout, named, TOKENS, payload, "naive") + payload


@pytest.mark.parametrize("direct_io", list(DirectIO))
@pytest.mark.parametrize("kind", list(DAMAGE))
@pytest.mark.parametrize("when", ["while open", "between starts"])
def test_disk__damaged_or_foreign_file__is_set_aside_and_never_served(
    open_disk: OpenDisk, tmp_path: Path, kind: str, when: str, direct_io: DirectIO
) -> None:
    disk = open_disk(direct_io=direct_io)
    disk.store(1, 2)
    if when == "between starts":
        disk.backend.close()
    DAMAGE[kind](file_of(tmp_path, 1))
    if when == "between starts":
        disk = open_disk(direct_io=direct_io)
    assert not disk.load(1)
    assert disk.held(1, 2) == [2]
    assert disk.load(2)
    assert disk.fault(Fault.CORRUPT) + disk.fault(Fault.FOREIGN) == 1
    assert disk.counted(Count.QUARANTINED_FILES) == 1
    assert len(list(tmp_path.rglob("quarantine/*"))) == 1
    assert disk.backend.usage() == (64 * FILE_BYTES, FILE_BYTES, 1)
    disk.store(1)
    assert disk.load(1)


def test_disk__file_too_long__is_set_aside_at_the_start(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk()
    disk.store(1)
    disk.backend.close()
    with file_of(tmp_path, 1).open("ab") as file:
        file.write(b"x")
    disk = open_disk()
    assert disk.held(1) == []
    assert disk.counted(Count.QUARANTINED_FILES) == 1


def test_disk__file_vanishes__is_a_miss(open_disk: OpenDisk, tmp_path: Path) -> None:
    disk = open_disk()
    disk.store(1)
    file_of(tmp_path, 1).unlink()
    assert not disk.load(1)
    assert disk.held(1) == []
    disk.store(1)
    assert disk.load(1)


def test_disk__directory_in_place_of_a_file__is_left_out(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk()
    disk.store(1, 2)
    disk.backend.close()
    path = file_of(tmp_path, 1)
    path.unlink()
    path.mkdir()
    disk = open_disk()
    assert disk.held(1, 2) == [2]
    assert not disk.load(1)


def test_disk__many_broken_files__quarantine_stays_small(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk()
    disk.store(*range(1, 31))
    for file in files(tmp_path):
        os.truncate(file, 10)
    disk = reopen(disk, open_disk)
    assert disk.counted(Count.QUARANTINED_FILES) == 30
    assert len(list(tmp_path.rglob("quarantine/*"))) == 16


def test_disk__unfinished_files_of_a_crash__are_removed_at_the_start(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk()
    disk.store(1)
    chunk = file_of(tmp_path, 1)
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    disk.backend.close()
    leftover = chunk.with_name(f"{chunk.name}.tmp-0123456789abcdef")
    leftover.write_bytes(b"half")
    disk = open_disk()
    assert disk.held(1) == [1]
    assert not leftover.exists()
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == written


def test_disk__other_workers_files__are_not_touched(open_disk: OpenDisk, tmp_path: Path) -> None:
    other = open_disk(layout=OTHER_MODEL)
    other.store(1, 2)
    before = files(tmp_path)
    disk = open_disk()
    disk.store(3)
    assert disk.backend.clear() == 1
    assert files(tmp_path) == before


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


def test_disk__another_list_of_directories__loses_nothing(
    open_disk: OpenDisk, tmp_path: Path
) -> None:
    disk = open_disk(tmp_path / "a", tmp_path / "b")
    disk.store(*range(1, 9))
    disk.backend.close()
    disk = open_disk(tmp_path / "b", tmp_path / "a", tmp_path / "c")
    assert len(disk.held(*range(1, 9))) == 8


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


def test_disk__closed__takes_nothing_and_closes_again(open_disk: OpenDisk) -> None:
    disk = open_disk()
    disk.store(1)
    disk.backend.close()
    disk.backend.close()
    assert not disk.offer(2)
    assert disk.dropped(Drop.CLOSED) == 1
