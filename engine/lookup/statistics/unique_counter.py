"""What a strategy of counting unique chunks is."""

from collections.abc import Sequence
from typing import Protocol


class CountingFailed(Exception):
    """The medium that remembers chunks failed; the text says how. What it remembered is
    lost."""


class UniqueCounter(Protocol):
    """Remembers chunk hashes. One thread at a time."""

    @property
    def strategy(self) -> str:
        """By this name it is configured and shown."""

    @property
    def expected_error(self) -> float:
        """By which part of the true number, at least 0 and below 1, the unique chunks
        that were counted are expected to be too few."""

    @property
    def memory_bytes(self) -> int:
        """Memory that is taken, at most."""

    @property
    def disk_bytes(self) -> int:
        """Disk space that is taken."""

    def count(self, hashes: Sequence[bytes]) -> int:
        """How many different hashes (SHA-256, 32 bytes each) among these are new; they
        are remembered. Raises CountingFailed."""

    def reset(self) -> None:
        """Forget all hashes. Raises CountingFailed."""

    def close(self) -> None:
        """Let go of everything. Called once; raises nothing."""
