"""A disk tier to be looked into."""

import mmap
from collections.abc import Callable
from pathlib import Path

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
from engine.storage.format import HEADER_ALIGNMENT
from engine.storage.local_disk import DirectIO, DiskSettings, FsyncPolicy, LocalDiskBackend
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


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*.kvchunk") if path.parent.name != "quarantine")


def file_of(directory: Path, number: int) -> Path:
    (path,) = directory.rglob(f"{key(number).chunk_hash.hex()}.kvchunk")
    return path


def reopen(disk: Disk, open_disk: OpenDisk, **settings: object) -> Disk:
    disk.backend.close()
    return open_disk(**settings)
