"""Chunk files that several processes and machines share: whole, or not there."""

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.storage.connectors.connector import EncodedChunk
from engine.storage.format import (
    HEADER_ALIGNMENT,
    ChunkHeader,
    CorruptChunk,
    header_length,
    read_header,
)

CHUNK_SUFFIX = ".kvchunk"
TEMPORARY_SUFFIX = ".tmp"

# Whatever lies at a chunk's path, opening it must not wait for another process.
_OPEN_TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_TO_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def read_file(path: Path) -> EncodedChunk:
    """The chunk in a file; what cannot be one comes without a payload. Raises OSError."""
    with _opened(path) as file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return EncodedChunk(b"", b"")
        start = _header_bytes(file)
        try:
            header = _checked_header(file, start)
        except CorruptChunk:
            return EncodedChunk(start, b"")
        return EncodedChunk(start, _bytes_at(file, header.header_bytes, header.payload_bytes))


def write_file(path: Path, chunk: EncodedChunk) -> None:
    """Write a whole chunk, replacing what is there, and make its folder if need be.
    Raises OSError, with nothing left behind."""
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
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


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, _OPEN_TO_READ)
    try:
        yield file
    finally:
        os.close(file)


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


def _write_all(file: int, parts: list[memoryview]) -> None:
    while parts:
        written = os.writev(file, parts)
        while parts and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if parts:
            parts[0] = parts[0][written:]
