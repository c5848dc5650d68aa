"""Files on disk that are damaged, foreign, unfinished, or gone: set aside, never served."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.device import KVCacheSpec
from engine.storage import ChunkLayout, Count, Fault
from engine.storage.format import HEADER_ALIGNMENT, make_header
from engine.storage.local_disk import DirectIO
from engine.tokens import ChunkKey

from .disks import FILE_BYTES, LAYOUT, SPEC, TOKENS, OpenDisk, content, file_of, files, key, reopen


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
