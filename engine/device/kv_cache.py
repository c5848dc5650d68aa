"""What a paged KV cache is to the cache engine, whoever allocated it."""

from collections.abc import Sequence
from typing import Protocol

import torch

from engine.contract import SlotRun
from engine.device.spec import KVCacheSpec


class KVCache(Protocol):
    """Paged KV of one worker. Thread-safe as torch is: concurrent calls must not write
    the same slots.

    `spec` is the shape of the chunks that leave it, which need not be that of its
    layers. Moving KV may be possible in whole blocks only.
    """

    @property
    def spec(self) -> KVCacheSpec: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def num_slots(self) -> int: ...

    def check_slots(self, runs: Sequence[SlotRun]) -> None:
        """Raise SlotOutOfBounds for the first slot that does not exist."""

    def gather(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        """Copy the KV at the slots, in order, into `chunk`: contiguous, in host
        memory, of spec.dtype and spec.chunk_shape(number of slots)."""

    def scatter(self, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        """Copy `chunk` to the slots, in order; the reverse of gather."""

    def checksums(self, runs: Sequence[SlotRun], chunk_size: int) -> list[str]:
        """MD5 of each chunk of `chunk_size` slots, all layers combined. Raises
        SlotOutOfBounds."""

    def layerwise_checksums(self, runs: Sequence[SlotRun], chunk_size: int) -> dict[str, list[str]]:
        """MD5 of each chunk of `chunk_size` slots, by layer. Raises SlotOutOfBounds."""

    def info(self) -> dict[str, dict[str, object]]:
        """Shape, dtype and device of every layer, JSON-ready."""
