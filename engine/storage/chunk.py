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
    FULL = "full"
    """Every chunk in memory is in use."""
    CLEARED = "cleared"
    """The backend was cleared while the chunk was being copied."""


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


@dataclass(eq=False)
class StoredChunk:
    """A chunk in memory. While it is pinned its memory is not used for anything
    else, even if the chunk is evicted from the index by an order to clear."""

    key: ChunkKey
    num_tokens: int
    chunk: torch.Tensor
    slot: int
    pins: int = 0
    is_indexed: bool = True


class BackendUsage(NamedTuple):
    """Memory of a backend. `used_bytes` counts memory that cannot be given to a
    new chunk now, chunks that are being copied included."""

    capacity_bytes: int
    used_bytes: int
    chunks: int
