"""What a backend hands out: buffers to fill, chunks to read, and refusals."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import torch

from engine.tokens import ChunkKey


class Refusal(StrEnum):
    """Why a chunk is not admitted."""

    FROZEN = "frozen"
    HOT_CACHE_OFF = "hot_cache_off"
    BYPASSED = "bypassed"
    """No backend that may be written takes chunks."""
    FULL = "full"
    """All memory is in use by requests that are being served."""
    CLEARED = "cleared"
    """The backend was cleared while the chunk was being copied."""
    DROPPED = "dropped"
    """No tier below memory took the chunk, and memory takes none."""


@dataclass(eq=False)
class Reservation:
    """Memory for a chunk that is being copied; nobody else sees it.

    `chunk` is a view of the memory, shaped as KVCacheSpec.chunk_shape says.
    """

    key: ChunkKey
    num_tokens: int
    chunk: torch.Tensor
    slot: int
    epoch: int
    is_open: bool = True


@dataclass(eq=False, slots=True)
class StoredChunk:
    """A chunk in memory. While it is pinned its memory is not used for anything
    else, even if the chunk is evicted from the index by an order to clear.

    `stored_at` is seconds on the backend's clock. The tensor is not kept here but
    made on demand: it would double what a chunk costs besides its bytes.
    """

    key: ChunkKey
    num_tokens: int
    slot: int
    stored_at: float
    pins: int = 0
    is_indexed: bool = True


class BackendUsage(NamedTuple):
    """What a backend holds. `used_bytes` counts memory that cannot be given to a
    new chunk now, chunks that are being copied included; `capacity_bytes` is 0
    where the backend has no limit of its own."""

    capacity_bytes: int
    used_bytes: int
    chunks: int
