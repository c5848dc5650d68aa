"""What a tier below memory is to the StorageManager, and the memory that they
hand each other."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from engine.storage.breaker import BreakerState
from engine.storage.chunk import BackendUsage
from engine.storage.tally import Tally
from engine.tokens import ChunkKey


class Lease:
    """A chunk in memory that stays as it is until `release` is called, which must
    happen exactly once, from any thread.

    `payload` is read-only bytes, contiguous, at most one memory slot.
    """

    __slots__ = ("_release", "_releasing", "key", "num_tokens", "payload")

    def __init__(
        self, key: ChunkKey, num_tokens: int, payload: memoryview, release: Callable[[], None]
    ) -> None:
        self.key = key
        self.num_tokens = num_tokens
        self.payload = payload
        self._release: Callable[[], None] | None = release
        self._releasing = threading.Lock()

    def release(self) -> None:
        """Let go of the memory. Raises ValueError the second time."""
        with self._releasing:
            release, self._release = self._release, None
        if release is None:
            raise ValueError("The lease was released before; release it once.")
        release()


@dataclass(frozen=True, slots=True)
class ChunkBuffer:
    """Memory that a chunk is to be read into: `payload` is writable bytes,
    contiguous, exactly as long as the chunk of `num_tokens` tokens."""

    key: ChunkKey
    num_tokens: int
    payload: memoryview


class TierState(NamedTuple):
    """How a tier below memory is doing. `breaker` is OPEN while it is degraded;
    `queued` counts chunks that wait to be written or are being written."""

    breaker: BreakerState
    queued: int


class SlowBackend(Protocol):
    """A tier below memory. Thread-safe. No method raises for a fault of the medium:
    faults are counted, and what cannot be read is not there."""

    name: str
    tally: Tally
    batch_size: int
    """Chunks that `load` is best asked for at once."""

    def contains(self, keys: Sequence[ChunkKey]) -> list[bool]:
        """Which keys are stored, in one call. A tier to which each question is a
        round trip may stop at the first key that is not, and say False for all
        after it."""

    def load(self, buffers: Sequence[ChunkBuffer]) -> int:
        """Fill the buffers in order until one cannot be; how many were filled with
        exactly the bytes that were stored. The content of the others is undefined.
        Returns only once nothing writes to the buffers any more."""

    def offer(self, lease: Lease) -> bool:
        """Take a chunk to be written in the background, without waiting; False if it
        was dropped. The lease is the backend's from here on either way. A chunk
        that is stored or queued already is taken as such."""

    def freeze(self) -> None:
        """From the return of this call on nothing is admitted, evicted or probed; what
        waits to be written is dropped."""

    def unfreeze(self) -> None: ...

    def clear(self) -> int:
        """Remove all chunks of this worker and drop what waits to be written; how many
        were removed."""

    def usage(self) -> BackendUsage: ...

    def state(self) -> TierState: ...

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until nothing waits to be written; whether
        that was reached."""

    def close(self) -> None:
        """Write what is queued, as far as that takes no more than seconds, and let go
        of threads, files and connections."""
