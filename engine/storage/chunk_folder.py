"""The chunk files of one namespace on one device.

    <directory>/<digest of the namespace>/lock
    <directory>/<digest of the namespace>/<2 digits>/<chunk hash>.kvchunk
    <directory>/<digest of the namespace>/<2 digits>/<chunk hash>.kvchunk.tmp-<random>
    <directory>/<digest of the namespace>/quarantine/<chunk hash>.kvchunk

A chunk file is whole or absent: it is written under its temporary name, which only
a crash leaves behind.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from engine.storage.backend import ChunkBuffer, Lease
from engine.storage.chunk_file import (
    SERDE,
    read_chunk_file,
    read_file_facts,
    write_chunk_file,
)
from engine.storage.disk_settings import DiskSettings, FsyncPolicy
from engine.storage.format import (
    HEADER_ALIGNMENT,
    ChunkLayout,
    CorruptChunk,
    ForeignChunk,
    make_header,
)
from engine.storage.tally import Count, Fault, Tally
from engine.threads import start_all
from engine.tokens import ChunkKey

logger = logging.getLogger(__name__)
MAX_QUARANTINED = 16
_SUFFIX = ".kvchunk"
_TEMPORARY = ".tmp-"
_FOLDER_NAME_LENGTH = 2
_SCANNERS = 8
_READERS = 3


class DirectoryInUse(ValueError):
    """Another engine keeps chunks of the same namespace in the same directory."""

    def __init__(self, directory: Path, namespace: str) -> None:
        super().__init__(
            f"Directory '{directory}' is in use for chunks of '{namespace}' by another engine; "
            "give each engine a directory of its own, or stop the other one."
        )


class FoundChunk(NamedTuple):
    """A chunk file that was there at the start; `arrived_at` is in seconds since 1970."""

    key: ChunkKey
    file_bytes: int
    arrived_at: float


class ChunkFolder:
    """Files by chunk key, open to one engine at a time. Keeps no index and no order.
    Broken files that it comes across are set aside and counted.

    Thread-safe, except that `open` and `close` exclude each other.
    """

    def __init__(
        self, directory: Path, layout: ChunkLayout, settings: DiskSettings, tally: Tally
    ) -> None:
        self.directory = directory
        self._layout = layout
        self._settings = settings
        self._tally = tally
        digest = hashlib.sha256(layout.namespace.encode()).hexdigest()[:32]
        self._root = directory / digest
        self._quarantine = self._root / "quarantine"
        self._lock_path = self._root / "lock"
        self._lock: int | None = None
        self._device: int | None = None
        self._quarantining = threading.Lock()
        self._readers = ThreadPoolExecutor(_READERS, f"read-{directory.name}")
        start_all(self._readers, _READERS)

    def open(self) -> None:
        """Make the folder if need be and lock it. Raises DirectoryInUse and OSError, the
        latter also if another file system is mounted there than the first time."""
        self.close()
        self.directory.mkdir(parents=True, exist_ok=True)
        device = self.directory.stat().st_dev
        if self._device not in (None, device):
            # Writing to what lies below a mount point would fill the wrong disk.
            raise OSError(errno.ENODEV, "not the file system it was", str(self.directory))
        self._root.mkdir(exist_ok=True)
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise DirectoryInUse(self.directory, self._layout.namespace) from None
        except OSError:
            os.close(lock)
            raise
        self._lock = lock
        self._device = device

    def is_open(self) -> bool:
        """Whether the folder that was locked is still there. Raises OSError."""
        if self._lock is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._lock), self._lock_path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Unlock the folder; no effect if it is not open."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def end_readers(self) -> None:
        """Let the threads end after what they read now. For good."""
        self._readers.shutdown(wait=False)

    def scan(self) -> list[FoundChunk]:
        """All chunks, oldest first. Removes what a crash left half written, sets broken
        and foreign files aside, leaves out what cannot be read. Raises OSError."""
        for leftover in self._root.glob(f"*{_TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
        # Each header may be a wait for the device, and devices serve many at once.
        with ThreadPoolExecutor(_SCANNERS, "scan") as scanners:
            found = list(chain.from_iterable(scanners.map(self._scan_one, self._folders())))
        found.sort(key=lambda chunk: chunk.arrived_at)
        return found

    def write(self, lease: Lease) -> Path:
        """Write the chunk under a temporary name, and return that. Raises OSError with
        nothing left behind, ValueError for a namespace that is too long."""
        header = make_header(self._layout, lease.key, lease.num_tokens, lease.payload, SERDE)
        path = self._path(lease.key)
        self._make_folder(path.parent)
        temporary = path.with_name(f"{path.name}{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            write_chunk_file(
                temporary, header, lease.payload, self._settings.direct_io, self._settings.fsync
            )
        except OSError:
            discard(temporary)
            raise
        return temporary

    def publish(self, temporary: Path, key: ChunkKey) -> None:
        """Give a written chunk its name. Raises OSError."""
        temporary.rename(self._path(key))

    def sync_names(self, key: ChunkKey) -> None:
        """With FsyncPolicy.FILE, flush the chunk's directory entry. Raises OSError."""
        if self._settings.fsync is FsyncPolicy.FILE:
            _fsync_directory(self._path(key).parent)

    def read(self, buffer: ChunkBuffer) -> None:
        """Fill the buffer. Raises OSError, FileNotFoundError if there is no such file,
        CorruptChunk and ForeignChunk; the buffer's content is then undefined."""
        path = self._path(buffer.key)
        read_chunk_file(path, buffer, self._layout, self._settings.direct_io, self._readers)

    def remove(self, key: ChunkKey) -> None:
        """Remove the chunk's file if there is one. Raises OSError."""
        self._path(key).unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove every chunk file and what was set aside. Raises OSError."""
        for folder in [*self._folders(), str(self._quarantine)]:
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(_SUFFIX) and not entry.is_dir(follow_symlinks=False):
                        Path(entry.path).unlink(missing_ok=True)

    def set_aside(self, key: ChunkKey, why: CorruptChunk | ForeignChunk) -> None:
        """Count a chunk file that does not hold and keep it for whoever wants to know
        why, with the last few of its kind."""
        self._set_aside(self._path(key), why)

    def try_to_write(self, file_bytes: int) -> None:
        """Write a little, and reserve the space of a whole file. Raises OSError."""
        probe = self._root / f"probe{_TEMPORARY}{secrets.token_hex(8)}"
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, max(file_bytes, HEADER_ALIGNMENT))
            os.pwrite(descriptor, bytes(HEADER_ALIGNMENT), 0)
            # Only the device itself knows whether it takes what is written.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            discard(probe)

    def _path(self, key: ChunkKey) -> Path:
        name = key.chunk_hash.hex()
        return self._root / name[:_FOLDER_NAME_LENGTH] / f"{name}{_SUFFIX}"

    def _folders(self) -> Iterator[str]:
        with os.scandir(self._root) as entries:
            for entry in entries:
                if len(entry.name) == _FOLDER_NAME_LENGTH and entry.is_dir(follow_symlinks=False):
                    yield entry.path

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir()
        except FileExistsError:
            return
        if self._settings.fsync is FsyncPolicy.FILE:
            _fsync_directory(self._root)

    def _scan_one(self, folder: str) -> list[FoundChunk]:
        found: list[FoundChunk] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if _TEMPORARY in entry.name:
                    Path(entry.path).unlink(missing_ok=True)
                elif entry.name.endswith(_SUFFIX):
                    found += self._look_at(entry)
        return found

    def _look_at(self, entry: os.DirEntry[str]) -> list[FoundChunk]:
        """The chunk in that file, or none."""
        try:
            facts = read_file_facts(entry.path)
            header = facts.header
            header.check_layout(self._layout)
            name = header.key.chunk_hash.hex()
            if not entry.path.endswith(f"/{name[:_FOLDER_NAME_LENGTH]}/{name}{_SUFFIX}"):
                raise ForeignChunk("it has another chunk's name")
        except (CorruptChunk, ForeignChunk) as error:
            self._set_aside(Path(entry.path), error)
            return []
        except OSError as error:
            logger.warning("Chunk file %s cannot be read: %s", entry.path, error)
            self._tally.failed(Fault.READ)
            return []
        return [FoundChunk(header.key, header.total_bytes, facts.modified_at)]

    def _set_aside(self, path: Path, why: CorruptChunk | ForeignChunk) -> None:
        logger.warning("Chunk file %s is set aside: %s", path, why)
        self._tally.failed(fault_of(why))
        try:
            with self._quarantining:
                self._quarantine.mkdir(exist_ok=True)
                path.replace(self._quarantine / path.name)
                kept = sorted(self._quarantine.iterdir(), key=lambda file: file.stat().st_ctime_ns)
                for oldest in kept[:-MAX_QUARANTINED]:
                    oldest.unlink(missing_ok=True)
            self._tally.add({Count.QUARANTINED_FILES: 1})
        except FileNotFoundError:
            # Gone, by an order to clear or another hand: that is as good.
            pass
        except OSError as error:
            logger.warning("Chunk file %s cannot be moved: %s", path, error)
            self._tally.failed(Fault.WRITE)


def fault_of(why: CorruptChunk | ForeignChunk) -> Fault:
    """What is wrong with a file, as it is counted."""
    return Fault.CORRUPT if isinstance(why, CorruptChunk) else Fault.FOREIGN


def discard(temporary: Path) -> None:
    """Remove a file that nobody needs; the next start does it if the device refuses."""
    with contextlib.suppress(OSError):
        temporary.unlink()


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
