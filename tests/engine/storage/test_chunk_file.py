"""One chunk in one file, past the page cache and through it."""

import errno
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from engine.device import KVCacheSpec
from engine.storage import ChunkBuffer, ChunkLayout
from engine.storage.chunk_file import SERDE, read_chunk_file, read_file_facts, write_chunk_file
from engine.storage.disk_settings import DirectIO, FsyncPolicy
from engine.storage.format import HEADER_ALIGNMENT, CorruptChunk, make_header
from engine.tokens import ChunkKey

SPEC = KVCacheSpec(4, 8, 128, torch.float32, 16, 16, use_mla=False)
LAYOUT = ChunkLayout("model@1@0@float32@KV_2LTD", SPEC)
KEY = ChunkKey(LAYOUT.namespace, bytes(range(32)))
LARGE = 600
"""Tokens of a chunk that is read in three pieces, the last shorter."""


@pytest.fixture
def readers() -> Iterator[Executor]:
    with ThreadPoolExecutor(3) as executor:
        yield executor


@pytest.fixture
def opened_directly(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each file that is opened, whether past the page cache."""
    opened: list[bool] = []
    really_open = os.open

    def note(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = really_open(path, flags, mode)
        opened.append(bool(flags & os.O_DIRECT))
        return descriptor

    monkeypatch.setattr(os, "open", note)
    return opened


def memory(length: int, offset: int) -> memoryview:
    """Memory that begins `offset` bytes after a page border."""
    return memoryview(mmap.mmap(-1, offset + length))[offset:]


def payload(num_tokens: int, offset: int = 0) -> memoryview:
    filled = memory(LAYOUT.chunk_bytes(num_tokens), offset)
    filled[:] = os.urandom(len(filled))
    return filled.toreadonly()


def write(path: Path, num_tokens: int, written: memoryview, direct_io: DirectIO) -> None:
    header = make_header(LAYOUT, KEY, num_tokens, written, SERDE)
    write_chunk_file(path, header, written, direct_io, FsyncPolicy.NEVER)


@pytest.mark.parametrize("written", list(DirectIO))
@pytest.mark.parametrize("read", list(DirectIO))
@pytest.mark.parametrize("num_tokens", [1, 16, LARGE])
def test_chunk_file__memory_in_pages__comes_back_in_either_way(
    tmp_path: Path,
    readers: Executor,
    opened_directly: list[bool],
    written: DirectIO,
    read: DirectIO,
    num_tokens: int,
) -> None:
    sent = payload(num_tokens)
    write(tmp_path / "file", num_tokens, sent, written)
    assert read_file_facts(str(tmp_path / "file")).header.total_bytes == 4096 + len(sent)
    buffer = memory(len(sent), 0)
    wanted = ChunkBuffer(KEY, num_tokens, buffer)
    read_chunk_file(tmp_path / "file", wanted, LAYOUT, read, readers)
    assert buffer == sent
    assert opened_directly == [written is DirectIO.ON, False, read is DirectIO.ON]


def test_chunk_file__memory_between_pages__goes_through_the_page_cache(
    tmp_path: Path, readers: Executor, opened_directly: list[bool]
) -> None:
    sent = payload(3, offset=512)
    write(tmp_path / "file", 3, sent, DirectIO.ON)
    buffer = memory(len(sent), 512)
    read_chunk_file(tmp_path / "file", ChunkBuffer(KEY, 3, buffer), LAYOUT, DirectIO.ON, readers)
    assert buffer == sent
    assert opened_directly == [False, False]


def test_chunk_file__file_system_refuses_direct_io__goes_through_the_page_cache(
    tmp_path: Path, readers: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = os.open
    refused: list[str] = []

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            refused.append(str(path))
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    sent = payload(2)
    write(tmp_path / "file", 2, sent, DirectIO.ON)
    buffer = memory(len(sent), 0)
    read_chunk_file(tmp_path / "file", ChunkBuffer(KEY, 2, buffer), LAYOUT, DirectIO.ON, readers)
    assert buffer == sent
    assert len(refused) == 2


def test_chunk_file__device_takes_little_at_once__is_written_whole(
    tmp_path: Path, readers: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_write = os.pwritev
    writes: list[int] = []

    def write_little(descriptor: int, parts: list[memoryview], offset: int) -> int:
        little = parts[0][: 1000 + len(writes)]
        writes.append(really_write(descriptor, [little], offset))
        return writes[-1]

    monkeypatch.setattr(os, "pwritev", write_little)
    sent = payload(1)
    write(tmp_path / "file", 1, sent, DirectIO.OFF)
    assert len(writes) > 30
    buffer = memory(len(sent), 0)
    read_chunk_file(tmp_path / "file", ChunkBuffer(KEY, 1, buffer), LAYOUT, DirectIO.OFF, readers)
    assert buffer == sent


@pytest.mark.parametrize("direct_io", list(DirectIO))
@pytest.mark.parametrize("piece", [0, 1, 2])
def test_chunk_file__ends_in_any_piece__is_corrupt(
    tmp_path: Path, readers: Executor, direct_io: DirectIO, piece: int
) -> None:
    sent = payload(LARGE)
    write(tmp_path / "file", LARGE, sent, direct_io)
    os.truncate(tmp_path / "file", HEADER_ALIGNMENT + (piece * 8 << 20) + 4096)
    wanted = ChunkBuffer(KEY, LARGE, memory(len(sent), 0))
    with pytest.raises(CorruptChunk, match="ends"):
        read_chunk_file(tmp_path / "file", wanted, LAYOUT, direct_io, readers)


def test_chunk_file__readers_were_shut_down__is_an_error_of_the_system(
    tmp_path: Path, readers: Executor
) -> None:
    sent = payload(1)
    write(tmp_path / "file", 1, sent, DirectIO.ON)
    readers.shutdown()
    wanted = ChunkBuffer(KEY, 1, memory(len(sent), 0))
    with pytest.raises(OSError, match="closed"):
        read_chunk_file(tmp_path / "file", wanted, LAYOUT, DirectIO.ON, readers)


def test_chunk_file__fifo_among_the_chunks__holds_nothing_up(
    tmp_path: Path, readers: Executor
) -> None:
    os.mkfifo(tmp_path / "file")
    with pytest.raises(OSError, match="regular"):
        read_file_facts(str(tmp_path / "file"))
    wanted = ChunkBuffer(KEY, 1, memory(LAYOUT.chunk_bytes(1), 0))
    with pytest.raises((OSError, CorruptChunk)):
        read_chunk_file(tmp_path / "file", wanted, LAYOUT, DirectIO.ON, readers)
