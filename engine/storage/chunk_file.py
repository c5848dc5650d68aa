"""One chunk in one file, in the format of engine.storage.format: written from the
memory it lies in, read into the memory it is wanted in.

Direct I/O (O_DIRECT, open(2)) needs memory, length and offset at page borders. A
chunk that has none, and a file system that refuses, is written and read through
the page cache instead.
"""

import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

from engine.storage.backend import ChunkBuffer
from engine.storage.disk_settings import DirectIO, FsyncPolicy
from engine.storage.format import (
    HEADER_ALIGNMENT,
    ChunkHeader,
    ChunkLayout,
    CorruptChunk,
    ForeignChunk,
    header_length,
    read_header,
)

SERDE = "naive"
"""Files hold a chunk's bytes as they are; engine.storage.serde names that so."""
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Not blocking, so that a FIFO that lies among the chunks holds nothing up."""
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_LIBC = ctypes.CDLL(None)
_WRITE_RANGE = 2
"""SYNC_FILE_RANGE_WRITE, sync_file_range(2): begin, do not wait."""
_DIRECT_PIECE = 8 << 20
_BUFFERED_PIECE = 512 << 10
"""Small enough to be in the processor's cache still when its checksum is made."""


class FileFacts(NamedTuple):
    """A chunk file's header, and when it was last written to, in seconds since 1970."""

    header: ChunkHeader
    modified_at: float


def write_chunk_file(
    path: Path, header: bytes, payload: memoryview, direct_io: DirectIO, fsync: FsyncPolicy
) -> None:
    """Write a whole chunk, replacing what is there. Raises OSError; the file is then
    in no particular state."""
    if direct_io is DirectIO.ON and _is_aligned(payload):
        try:
            _write(path, os.O_DIRECT, _in_pages(header), payload, fsync)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            return
    _write(path, 0, memoryview(header), payload, fsync)


def read_chunk_file(
    path: Path,
    buffer: ChunkBuffer,
    layout: ChunkLayout,
    direct_io: DirectIO,
    readers: Executor,
) -> None:
    """Fill the buffer with the chunk in that file, and check it. With direct I/O the
    `readers` read several pieces at once, as nobody reads ahead. Raises OSError, also
    if the readers were shut down, CorruptChunk, and ForeignChunk; the buffer's content
    is then undefined."""
    if direct_io is DirectIO.ON and _is_aligned(buffer.payload):
        try:
            _read(path, os.O_DIRECT, buffer, layout, partial(_pieces_at_once, readers))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            return
    _read(path, 0, buffer, layout, _pieces_in_turn)


def read_file_facts(path: str) -> FileFacts:
    """A chunk file's header, checked as far as that goes without reading the payload.
    Raises OSError and CorruptChunk."""
    descriptor = os.open(path, _READ_FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        start = os.pread(descriptor, HEADER_ALIGNMENT, 0)
        length = header_length(start)
        if length > len(start):
            start += os.pread(descriptor, length - len(start), len(start))
    finally:
        os.close(descriptor)
    header = read_header(start)
    if status.st_size != header.total_bytes:
        raise CorruptChunk(f"the file has {status.st_size} bytes instead of {header.total_bytes}")
    return FileFacts(header, status.st_mtime)


def _write(
    path: Path, flags: int, header: memoryview, payload: memoryview, fsync: FsyncPolicy
) -> None:
    descriptor = os.open(path, _WRITE_FLAGS | flags, 0o600)
    try:
        parts: Sequence[memoryview] = [header, payload]
        offset = 0
        while parts:
            written = os.pwritev(descriptor, parts, offset)
            if written == 0:
                raise OSError(errno.EIO, "nothing was written", str(path))
            offset += written
            parts = _after(parts, written)
        if fsync is FsyncPolicy.FILE:
            os.fsync(descriptor)
        elif not flags & os.O_DIRECT:
            _start_writeback(descriptor)
    finally:
        os.close(descriptor)


def _start_writeback(descriptor: int) -> None:
    """Have the device write at once what would pile up in the page cache until all
    writers are made to wait. Advice: whether it is taken does not matter."""
    _LIBC.sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE_RANGE)


def _after(parts: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left of the parts after their first `count` bytes."""
    left: list[memoryview] = []
    for part in parts:
        if count < len(part):
            left.append(part[count:])
        count = max(0, count - len(part))
    return left


def _read(
    path: Path, flags: int, buffer: ChunkBuffer, layout: ChunkLayout, pieces: "_Pieces"
) -> None:
    descriptor = os.open(path, _READ_FLAGS | flags)
    try:
        header = _read_header(descriptor)
        header.check_key(buffer.key, buffer.num_tokens)
        header.check_layout(layout)
        if header.serde != SERDE:
            raise ForeignChunk(f"its serde is '{header.serde}', not '{SERDE}'")
        if header.payload_bytes != len(buffer.payload):
            raise CorruptChunk(
                f"it holds {header.payload_bytes} bytes instead of {len(buffer.payload)}"
            )
        checksum = xxhash.xxh3_128()
        for piece in pieces(descriptor, buffer.payload, header.header_bytes):
            checksum.update(piece)
    finally:
        os.close(descriptor)
    header.check_payload_checksum(checksum.digest())


_Pieces = Callable[[int, memoryview, int], Iterable[memoryview]]
"""Reads a file from an offset on into memory, piece by piece."""


def _pieces_in_turn(descriptor: int, memory: memoryview, offset: int) -> Iterator[memoryview]:
    for start in range(0, len(memory), _BUFFERED_PIECE):
        piece = memory[start : start + _BUFFERED_PIECE]
        _fill(descriptor, piece, offset + start)
        yield piece


def _pieces_at_once(
    readers: Executor, descriptor: int, memory: memoryview, offset: int
) -> Iterator[memoryview]:
    pieces = [
        memory[start : start + _DIRECT_PIECE] for start in range(0, len(memory), _DIRECT_PIECE)
    ]
    reads: list[Future[None]] = []
    try:
        for index, piece in enumerate(pieces):
            reads.append(readers.submit(_fill, descriptor, piece, offset + index * _DIRECT_PIECE))
        for piece, read in zip(pieces, reads, strict=True):
            read.result()
            yield piece
    except RuntimeError as error:
        raise OSError(errno.ESHUTDOWN, "closed") from error
    finally:
        # Neither the memory nor the descriptor is in use any more when this ends.
        for read in reads:
            read.cancel()
        wait(reads)


def _read_header(descriptor: int) -> ChunkHeader:
    pages = _pages(HEADER_ALIGNMENT)
    _fill(descriptor, pages, 0)
    length = header_length(pages)
    if length > len(pages):
        pages = _pages(length)
        _fill(descriptor, pages, 0)
    return read_header(pages)


def _fill(descriptor: int, memory: memoryview, offset: int) -> None:
    """Raises OSError, and CorruptChunk where the file ends too early."""
    while memory:
        count = os.preadv(descriptor, [memory], offset)
        if count == 0:
            raise CorruptChunk(f"the file ends after {offset} bytes")
        memory = memory[count:]
        offset += count


def _is_aligned(memory: memoryview) -> bool:
    address = np.frombuffer(memory, np.uint8).ctypes.data if memory else 0
    return address % HEADER_ALIGNMENT == 0 and len(memory) % HEADER_ALIGNMENT == 0


def _in_pages(header: bytes) -> memoryview:
    pages = _pages(len(header))
    pages[:] = header
    return pages


def _pages(length: int) -> memoryview:
    return memoryview(mmap.mmap(-1, length))
