"""Chunks in a directory that several processes and machines share.

    <path>/<namespace digest>/<2 hex>/<chunk hash hex>.kvchunk

Each file is a chunk as engine.storage.format has it. A file gets its name only when
it is whole, so readers need no lock, and of two writers of one key the last wins
with the same bytes.
"""

import contextlib
import errno
import os
import stat
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np

from engine.storage.connectors.connector import (
    ConnectorContext,
    ConnectorError,
    ConnectorRefusal,
    ConnectorTimeout,
    EncodedChunk,
    InvalidRemoteURL,
    namespace_digest,
)
from engine.storage.format import (
    HEADER_ALIGNMENT,
    ChunkHeader,
    CorruptChunk,
    header_length,
    read_header,
)
from engine.tokens import ChunkKey

CHUNK_SUFFIX = ".kvchunk"

_TEMPORARY_SUFFIX = ".tmp"
_TEMPORARY_SECONDS = 3600.0
_REMOVED_AT_ONCE = 256
_TAKES_NO_WRITES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM}
)
_GONE = frozenset({errno.ENOENT, errno.ESTALE})
"""A file on a network file system that another machine replaced is stale."""
# Whatever lies at a chunk's path, opening it must not wait for another process.
_OPEN_TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_TO_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class FsConnector:
    """`fs:///absolute/path`. In LMCache's form, `fs://host:port/path`, host and port
    are ignored. A `%xx` in the path is decoded.

    The directory is created once, by the first call that comes through. If it is
    gone later, a file system was unmounted or somebody removed it; then every call
    raises, rather than filling the disk below the mount point.

    A call on a hung mount cannot be interrupted and does not end by itself.
    """

    max_value_bytes = sys.maxsize

    def __init__(self, url: str, context: ConnectorContext) -> None:
        """Raises InvalidRemoteURL."""
        self._root = directory_of(url)
        self._directory = self._root / namespace_digest(context.layout.namespace)
        self._created = False
        self._creating = threading.Lock()

    def contains(self, keys: Sequence[ChunkKey]) -> int:
        with _faults(_READING):
            self._create_once()
            for index, key in enumerate(keys):
                try:
                    self._path(key).stat()
                except OSError as error:
                    self._check_gone(error)
                    return index
            return len(keys)

    def get(self, keys: Sequence[ChunkKey]) -> list[EncodedChunk]:
        found: list[EncodedChunk] = []
        with _faults(_READING):
            self._create_once()
            for key in keys:
                try:
                    found.append(_read(self._path(key)))
                except OSError as error:
                    self._check_gone(error)
                    break
        return found

    def put(self, chunks: Mapping[ChunkKey, EncodedChunk]) -> None:
        with _faults(_TAKES_NO_WRITES):
            self._create_once()
            for key, chunk in chunks.items():
                _write(self._path(key), chunk)

    def delete(self, keys: Sequence[ChunkKey]) -> None:
        with _faults(_TAKES_NO_WRITES):
            for key in keys:
                self._path(key).unlink(missing_ok=True)

    def clear(self) -> Iterator[int]:
        with _faults(_TAKES_NO_WRITES):
            self._create_once()
            self._check_directory()
            directories = [path for path in self._directory.iterdir() if path.is_dir()]
        for directory in directories:
            with _faults(_TAKES_NO_WRITES):
                paths = list(directory.iterdir())
            for start in range(0, len(paths), _REMOVED_AT_ONCE):
                with _faults(_TAKES_NO_WRITES):
                    removed = sum(map(_remove, paths[start : start + _REMOVED_AT_ONCE]))
                yield removed

    def ping(self) -> None:
        with _faults(_READING):
            self._create_once()
            self._check_directory()

    def close(self) -> None:
        """There is nothing to let go of."""

    def _path(self, key: ChunkKey) -> Path:
        name = key.chunk_hash.hex()
        return self._directory / name[:2] / f"{name}{CHUNK_SUFFIX}"

    def _create_once(self) -> None:
        if self._created:
            return
        with self._creating:
            if not self._created:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._created = True

    def _check_gone(self, error: OSError) -> None:
        """Raise what reading a chunk led to, unless it is that the chunk is not there."""
        if error.errno not in _GONE:
            raise error
        self._check_directory()

    def _check_directory(self) -> None:
        """Tell a chunk that is not there from a file system that is not there."""
        try:
            self._directory.stat()
        except FileNotFoundError as error:
            raise ConnectorError(
                f"{self._directory} is gone; is the file system mounted?"
            ) from error


class ChunkFile(NamedTuple):
    """A chunk file and what its header says, or why it is not a chunk."""

    path: Path
    header: ChunkHeader | CorruptChunk


def chunk_files(root: Path) -> Iterator[ChunkFile]:
    """All files below `root` that are named like chunks, in the order of their paths,
    each with its header; payloads are measured, not read. Raises OSError where a
    directory cannot be listed."""
    paths: list[Path] = []
    directories = [root]
    while directories:
        for path in directories.pop().iterdir():
            if path.is_dir() and not path.is_symlink():
                directories.append(path)
            elif path.suffix == CHUNK_SUFFIX:
                paths.append(path)
    return (ChunkFile(path, _header_of(path)) for path in sorted(paths))


def read_payload(path: Path, header: ChunkHeader) -> memoryview:
    """The payload of a chunk file, as stored and not checked; decode_payload does that.
    Raises CorruptChunk if the file cannot be read any more."""
    try:
        with _opened(path) as file:
            return _bytes_at(file, header.header_bytes, header.payload_bytes)
    except OSError as error:
        raise CorruptChunk(f"it cannot be read: {error}") from error


_READING: frozenset[int] = frozenset()


@contextlib.contextmanager
def _faults(refusals: frozenset[int]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise ConnectorTimeout(str(error)) from error
    except OSError as error:
        if error.errno in refusals:
            raise ConnectorRefusal(str(error)) from error
        raise ConnectorError(str(error)) from error


def directory_of(url: str) -> Path:
    """The directory that an fs:// URL names. Raises InvalidRemoteURL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidRemoteURL("The remote URL is not a URL: fs:///absolute/path.") from None
    path = unquote(parts.path)
    if not path.strip("/") or "\0" in path:
        raise InvalidRemoteURL("The remote URL names no directory: fs:///absolute/path.")
    if parts.query or parts.fragment:
        raise InvalidRemoteURL("A remote URL for 'fs' takes no parameters; write '?' as %3F.")
    return Path(path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, _OPEN_TO_READ)
    try:
        yield file
    finally:
        os.close(file)


def _read(path: Path) -> EncodedChunk:
    """The chunk in a file; what cannot be one comes without a payload."""
    with _opened(path) as file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return EncodedChunk(b"", b"")
        start = _header_bytes(file)
        try:
            header = _checked_header(file, start)
        except CorruptChunk:
            return EncodedChunk(start, b"")
        return EncodedChunk(start, _bytes_at(file, header.header_bytes, header.payload_bytes))


def _header_of(path: Path) -> ChunkHeader | CorruptChunk:
    try:
        with _opened(path) as file:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return CorruptChunk("it is not a file")
            return _checked_header(file, _header_bytes(file))
    except OSError as error:
        return CorruptChunk(f"it cannot be read: {error}")
    except CorruptChunk as error:
        return error


def _header_bytes(file: int) -> memoryview:
    """As much as there is of the header."""
    start = _bytes_at(file, 0, HEADER_ALIGNMENT)
    try:
        length = header_length(start)
    except CorruptChunk:
        return start
    return start if length <= len(start) else _bytes_at(file, 0, length)


def _checked_header(file: int, start: memoryview) -> ChunkHeader:
    header = read_header(start)
    size = os.fstat(file).st_size
    if size != header.total_bytes:
        raise CorruptChunk(f"it has {size} bytes instead of {header.total_bytes}")
    return header


def _bytes_at(file: int, offset: int, length: int) -> memoryview:
    """`length` bytes from `offset`, fewer where the file ends."""
    memory = np.empty(length, np.uint8).data
    filled = 0
    while filled < length:
        read = os.preadv(file, [memory[filled:]], offset + filled)
        if read == 0:
            break
        filled += read
    return memory[:filled]


def _write(path: Path, chunk: EncodedChunk) -> None:
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{_TEMPORARY_SUFFIX}")
    try:
        file = os.open(temporary, _OPEN_TO_WRITE, 0o666)
    except FileNotFoundError:
        # Only this level: the one above is created at the start or not at all.
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir()
        file = os.open(temporary, _OPEN_TO_WRITE, 0o666)
    try:
        try:
            _write_all(file, [memoryview(chunk.header), memoryview(chunk.payload)])
        finally:
            # A network file system may tell only now that the bytes did not arrive.
            os.close(file)
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _write_all(file: int, parts: list[memoryview]) -> None:
    while parts:
        written = os.writev(file, parts)
        while parts and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if parts:
            parts[0] = parts[0][written:]


def _remove(path: Path) -> int:
    """Remove a chunk, or what a writer that died has left; how many chunks that was."""
    with contextlib.suppress(FileNotFoundError):
        if path.suffix == CHUNK_SUFFIX:
            path.unlink()
            return 1
        age = time.time() - path.stat().st_mtime
        if path.suffix == _TEMPORARY_SUFFIX and age > _TEMPORARY_SECONDS:
            path.unlink()
    return 0
