"""A counter that waits to be let go on, and prompts to count."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.lookup import Prompt
from engine.lookup.statistics import ChunkStatistics

WAIT = 30.0


@dataclass
class Settings:
    chunk_statistics_auto_exit_timeout_hours: float = 0.0
    chunk_statistics_auto_exit_target_unique_chunks: int | None = None


@dataclass
class GatedCounter:
    """Counts exactly, in memory; waits at a gate before each call, and fails on wish."""

    strategy: str = "gated"
    expected_error: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None
    hashes: set[bytes] = field(default_factory=set)

    def count(self, hashes: Sequence[bytes]) -> int:
        self.begun.set()
        if not self.gate.wait(WAIT):
            raise TimeoutError
        if self.failure is not None:
            raise self.failure
        new = set(hashes) - self.hashes
        self.hashes |= new
        return len(new)

    def reset(self) -> None:
        self.hashes.clear()

    def close(self) -> None:
        self.closed.set()


Make = Callable[..., ChunkStatistics]


def prompt(request_id: str, numbers: Sequence[int]) -> Prompt:
    return Prompt(request_id, 16 * len(numbers), 16, [chunk_hash(number) for number in numbers])


def chunk_hash(number: int) -> bytes:
    return random.Random(number).randbytes(32)


def counted(statistics: ChunkStatistics) -> tuple[int, int, int]:
    """Requests, chunks and unique chunks, once all is counted."""
    assert statistics.flush(WAIT)
    status = statistics.status()
    return status["total_requests"], status["total_chunks"], status["unique_chunks"]
