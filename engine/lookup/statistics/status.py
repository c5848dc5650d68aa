"""What chunk statistics say."""

from dataclasses import dataclass
from typing import NamedTuple, TypedDict


class StatisticsStatus(TypedDict):
    """The statistics at one moment, with the keys of the answer in their order.
    Durations are in seconds, times are Unix times."""

    is_collecting: bool
    total_chunks: int
    """Always unique_chunks + duplicate_chunks."""
    unique_chunks: int
    timestamp: float
    """Of this answer."""
    auto_exit_enabled: bool
    auto_exit_timeout_hours: float
    """0 is never."""
    auto_exit_target_unique_chunks: int | None
    """None is never."""
    total_requests: int
    """Requests that were counted, each once."""
    duplicate_chunks: int
    reuse_rate: float
    """duplicate_chunks / total_chunks; 0 while there are none."""
    strategy: str
    expected_error: float
    """By which part of the true number unique_chunks is expected to be too low."""
    dropped_requests: int
    """Lookups that were not counted, since the queue was full or counting failed."""
    queued_requests: int
    """Requests that wait to be counted or are being counted."""
    lookup_overhead_seconds: float
    """Time that lookups spent on handing over their prompts."""
    counting_seconds: float
    """Processor time of the counting thread."""
    memory_bytes: int
    started_at: float | None
    """When collecting was started last; None before the first start."""
    exit_reason: str | None
    """timeout, target or failed: …; None while collecting, and where stop ended it."""


class Overhead(NamedTuple):
    """What handing over prompts took on the path of lookups."""

    seconds: float
    handovers: int


@dataclass(slots=True)
class Counts:
    """What a reset sets to zero; names as in StatisticsStatus."""

    total_requests: int = 0
    total_chunks: int = 0
    unique_chunks: int = 0
    dropped_requests: int = 0
    handover_seconds: float = 0.0
    handovers: int = 0
    counting_seconds: float = 0.0

    @property
    def duplicate_chunks(self) -> int:
        return self.total_chunks - self.unique_chunks

    @property
    def reuse_rate(self) -> float:
        return self.duplicate_chunks / self.total_chunks if self.total_chunks else 0.0
