"""Filling the hot cache from chunk files, before requests ask for them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from engine.storage.chunk import Refusal, Reservation, StoredChunk
from engine.storage.connectors.fs_files import ChunkFile, chunk_files, read_payload
from engine.storage.format import ChunkHeader, ChunkLayout, CorruptChunk, ForeignChunk
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.payload import payload_of
from engine.storage.serde import decode_payload


class Preloaded(NamedTuple):
    """`loaded_chunks` came into the hot cache, of `total_files` chunk files; those that
    could not be used are named in `failed_keys`, as many as were asked for."""

    loaded_chunks: int
    total_files: int
    failed_keys: list[str]


class HotCacheClosed(Exception):
    """The hot cache takes no chunks."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(f"The hot cache takes no chunks: {reason.value}.")
        self.reason = reason


def load_chunk_files(
    local_cpu: LocalCPUBackend,
    layout: ChunkLayout,
    root: Path,
    *,
    max_chunks: int,
    max_failed_keys: int,
    go_on: Callable[[], bool],
) -> Preloaded:
    """Load up to `max_chunks` chunk files below `root` that the worker can use and lacks,
    until memory is full; nothing is evicted. `go_on` is asked before each file.

    Raises HotCacheClosed if the hot cache takes nothing, also when that happens on
    the way, and OSError if `root` cannot be listed.
    """
    for mode in local_cpu.closed_by:
        raise HotCacheClosed(mode)
    files = list(chunk_files(root))
    failed: list[str] = []
    loaded = 0
    for file in files:
        if loaded == max_chunks or not go_on():
            break
        try:
            outcome = _load(local_cpu, layout, file)
        except (CorruptChunk, ForeignChunk):
            failed.append(_name(file))
            continue
        if outcome is Refusal.FULL:
            break
        if isinstance(outcome, Refusal):
            raise HotCacheClosed(outcome)
        loaded += outcome
    return Preloaded(loaded, len(files), failed[:max_failed_keys])


def _load(local_cpu: LocalCPUBackend, layout: ChunkLayout, file: ChunkFile) -> int | Refusal:
    """1 if the chunk came into the hot cache, 0 if it was there. Raises CorruptChunk
    and ForeignChunk."""
    header = file.header
    if isinstance(header, CorruptChunk):
        raise header
    header.check_layout(layout)
    if header.num_tokens < 1 or header.num_tokens > local_cpu.chunk_tokens:
        raise ForeignChunk(f"it has {header.num_tokens} tokens")
    admission = local_cpu.prepare_store_without_evicting(header.key, header.num_tokens)
    if isinstance(admission, Reservation):
        return _fill(local_cpu, admission, file.path, header)
    if isinstance(admission, StoredChunk):
        local_cpu.release([admission])
        return 0
    return admission


def _fill(
    local_cpu: LocalCPUBackend, reservation: Reservation, path: Path, header: ChunkHeader
) -> int | Refusal:
    try:
        decode_payload(header, read_payload(path, header), payload_of(reservation.chunk))
        admission = local_cpu.complete_store(reservation)
    finally:
        local_cpu.abort_store(reservation)
    if isinstance(admission, Refusal):
        return admission
    is_new = admission.slot == reservation.slot
    local_cpu.release([admission])
    return int(is_new)


def _name(file: ChunkFile) -> str:
    if isinstance(file.header, ChunkHeader):
        return file.header.key.chunk_hash.hex()
    return file.path.name
