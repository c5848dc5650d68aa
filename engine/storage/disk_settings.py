"""How the disk tier treats its devices."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class FsyncPolicy(StrEnum):
    """When a chunk file counts as stored."""

    NEVER = "never"
    """As soon as the system has it; what a power cut breaks, its checksum gives away."""
    FILE = "file"
    """Once the device has the file and its directory entry (fsync(2))."""


class DirectIO(StrEnum):
    """Whether payloads bypass the page cache (O_DIRECT, open(2))."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True)
class DiskSettings:
    """`queue_chunks` is how many chunks wait for all directories together, at least
    one for each. Threshold and interval (seconds) are those of the CircuitBreaker and
    are asked for anew each time."""

    fsync: FsyncPolicy
    direct_io: DirectIO
    queue_chunks: int
    breaker_threshold: Callable[[], int]
    breaker_interval_s: Callable[[], float]
