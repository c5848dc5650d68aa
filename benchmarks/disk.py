"""The disk tier against one plain file of the same bytes on the same device."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

from benchmarks.report import Result
from engine.config import EngineConfig
from engine.device import KVCacheSpec
from engine.storage import ChunkBuffer, ChunkLayout, HostMemory, Lease, LeastRecentlyUsed, Pages
from engine.storage.local_disk import DirectIO, DiskSettings, FsyncPolicy, LocalDiskBackend
from engine.storage.payload import payload_of
from engine.tokens import ChunkKey

SPEC = KVCacheSpec(32, 8, 128, torch.float16, 16, 16, use_mla=False)
CHUNK_TOKENS = 256
CHUNK_BYTES = CHUNK_TOKENS * SPEC.bytes_per_token
NUM_CHUNKS = 32
TOTAL_BYTES = NUM_CHUNKS * CHUNK_BYTES
PLAIN_PIECE = 8 << 20
ROUNDS = 7
DEFAULT = DirectIO.ON if EngineConfig.load().local_disk_direct_io else DirectIO.OFF
LAYOUT = ChunkLayout("benchmark@1@0@float16@vllm", SPEC)
KEYS = [ChunkKey(LAYOUT.namespace, number.to_bytes(32, "little")) for number in range(NUM_CHUNKS)]


def measure() -> Iterator[Result]:
    """Both in turn, round by round. Writes end with everything on the device. Cold
    reads begin with nothing in the page cache, warm ones with everything; with
    direct I/O nothing ever is, so there is no warm read."""
    source, target = _memory(), _memory()
    source[:] = memoryview(os.urandom(CHUNK_BYTES) * NUM_CHUNKS)
    for direct_io in DirectIO:
        with _directory() as directory:
            yield from _measure(directory, direct_io, source, target)


def _measure(
    directory: Path, direct_io: DirectIO, source: memoryview, target: memoryview
) -> Iterator[Result]:
    plain = directory / "plain"
    seconds: dict[str, list[tuple[float, float]]] = {"write": [], "cold read": []}
    if direct_io is DirectIO.OFF:
        seconds["warm read"] = []
    settings = DiskSettings(FsyncPolicy.NEVER, direct_io, 16, lambda: 3, lambda: 5.0)
    with _backend(directory / "chunks", settings) as backend:
        for number in range(ROUNDS):
            backend.clear()
            plain.unlink(missing_ok=True)
            os.sync()
            actions = [
                lambda: _write_plain(plain, source),
                lambda: _write_chunks(backend, directory, source),
            ]
            seconds["write"].append(_in_turn(actions, number))
            actions = [lambda: _read_plain(plain, target), lambda: _load(backend, target)]
            _drop_from_page_cache(directory)
            seconds["cold read"].append(_in_turn(actions, number))
            if "warm read" in seconds:
                seconds["warm read"].append(_in_turn(actions, number))
    if target != source:
        raise RuntimeError("What was loaded is not what was stored.")
    for what, pairs in seconds.items():
        plain_speed, speed = (
            TOTAL_BYTES / median(column) / 1e9 for column in zip(*pairs, strict=True)
        )
        ratio = median(a / b for a, b in pairs)
        print(
            f"  direct I/O {direct_io}, {what}: {speed:.2f} GB/s, the plain file "
            f"{plain_speed:.2f} GB/s, {ratio:.2f}"
        )
        # The other way is printed to compare with: it decided the default.
        if direct_io is DEFAULT:
            yield Result(
                f"{what} of 1 GiB on disk / one plain file (speed)",
                ratio,
                0.8,
                higher_is_better=True,
            )


@contextmanager
def _backend(directory: Path, settings: DiskSettings) -> Iterator[LocalDiskBackend]:
    backend = LocalDiskBackend([directory], 2 * TOTAL_BYTES, LAYOUT, LeastRecentlyUsed, settings)
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def _directory() -> Iterator[Path]:
    """On the file system of the working directory: that of temporary files may be memory."""
    directory = Path(tempfile.mkdtemp(prefix=".benchmark-", dir=Path.cwd()))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _memory() -> memoryview:
    memory = HostMemory(TOTAL_BYTES, torch.device("cpu"), Pages.NORMAL)
    memory.grow(TOTAL_BYTES)
    return payload_of(memory.bytes)


def _parts(memory: memoryview) -> list[memoryview]:
    return [memory[start : start + CHUNK_BYTES] for start in range(0, TOTAL_BYTES, CHUNK_BYTES)]


def _in_turn(actions: Sequence[Callable[[], None]], number: int) -> tuple[float, float]:
    """Seconds of the plain file and of ours; in every other round ours goes first."""
    order = [0, 1] if number % 2 == 0 else [1, 0]
    seconds = {index: _seconds(actions[index]) for index in order}
    return seconds[0], seconds[1]


def _write_plain(path: Path, source: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for start in range(0, TOTAL_BYTES, PLAIN_PIECE):
        part = source[start : start + PLAIN_PIECE]
        while part:
            part = part[os.write(descriptor, part) :]
    os.fsync(descriptor)
    os.close(descriptor)


def _write_chunks(backend: LocalDiskBackend, directory: Path, source: memoryview) -> None:
    for key, part in zip(KEYS, _parts(source.toreadonly()), strict=True):
        while not backend.offer(Lease(key, CHUNK_TOKENS, part, lambda: None)):
            time.sleep(0.001)
    if not backend.flush(60) or not all(backend.contains(KEYS)):
        raise RuntimeError("Not every chunk was written.")
    for path in directory.glob("**/*.kvchunk"):
        _with_descriptor(path, os.fsync)


def _read_plain(path: Path, target: memoryview) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    for start in range(0, TOTAL_BYTES, PLAIN_PIECE):
        part = target[start : start + PLAIN_PIECE]
        while part:
            part = part[os.readv(descriptor, [part]) :]
    os.close(descriptor)


def _load(backend: LocalDiskBackend, target: memoryview) -> None:
    for key, part in zip(KEYS, _parts(target), strict=True):
        if backend.load([ChunkBuffer(key, CHUNK_TOKENS, part)]) != 1:
            raise RuntimeError("A chunk was not read.")


def _drop_from_page_cache(directory: Path) -> None:
    os.sync()
    for path in directory.rglob("*"):
        if path.is_file():
            _with_descriptor(
                path, lambda file: os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            )


def _with_descriptor(path: Path, action: Callable[[int], None]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        action(descriptor)
    finally:
        os.close(descriptor)


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
