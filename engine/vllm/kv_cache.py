"""vLLM's paged KV cache, as the cache engine sees it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from engine.contract import SlotRun, count_slots
from engine.device import KVCacheSpec, check_slots
from engine.device.checksum import LayerPlanes, combined_checksums, layer_checksums
from engine.device.transfer import transfer_for
from engine.vllm.facts import KVFacts
from engine.vllm.layout import byte_view, planes_of

if TYPE_CHECKING:
    from vllm.v1.kv_cache_interface import KVCacheConfig

# vLLM's own threads wait for each other at every layer: one that finds its processor
# taken holds up all of them.
_CHECKING_THREADS = 1


class VllmKVCache:
    """Moves whole blocks, as the bytes that they are: restoring them is a copy, whatever
    order vLLM's kernels keep K and V in. A chunk is uint8 [layers, tokens, bytes].
    Checksums look at the KV of each slot instead.
    """

    def __init__(
        self,
        kv_caches: Mapping[str, torch.Tensor],
        kv_cache_config: "KVCacheConfig",
        facts: KVFacts,
    ) -> None:
        """`kv_caches` are the layers that vLLM registered, by name. Raises
        UnsupportedByConnector."""
        self._layers = {name: kv_caches[name] for name in facts.layers}
        self._facts = facts
        blocks = byte_view(kv_caches, kv_cache_config, facts)
        self.device = blocks.device
        self.spec = KVCacheSpec(
            num_layers=len(facts.layers),
            num_kv_heads=1,
            head_size=facts.page_bytes // facts.block_size,
            dtype=torch.uint8,
            block_size=facts.block_size,
            num_blocks=facts.num_blocks,
            use_mla=True,
        )
        self._transfer = transfer_for(blocks)

    @property
    def num_slots(self) -> int:
        return self.spec.num_slots

    def check_slots(self, runs: Sequence[SlotRun]) -> None:
        """Raise SlotOutOfBounds for the first slot that does not exist."""
        check_slots(runs, self.num_slots)

    def gather(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        """Copy the blocks of the slots into `chunk`. Raises ValueError for a part of a
        block."""
        self._check_blocks(runs, chunk)
        self._transfer.gather(runs, chunk)

    def scatter(self, chunk: torch.Tensor, runs: Sequence[SlotRun]) -> None:
        """Copy `chunk` to the blocks of the slots. Raises ValueError for a part of a
        block."""
        self._check_blocks(runs, chunk)
        self._transfer.scatter(chunk, runs)

    def checksums(self, runs: Sequence[SlotRun], chunk_size: int) -> list[str]:
        """MD5 of each chunk of `chunk_size` slots, all layers combined. Raises
        SlotOutOfBounds, and SlotsUnreadable."""
        self.check_slots(runs)
        return combined_checksums(self._planes(), runs, chunk_size, _CHECKING_THREADS)

    def layerwise_checksums(self, runs: Sequence[SlotRun], chunk_size: int) -> dict[str, list[str]]:
        """As checksums, by layer."""
        self.check_slots(runs)
        return layer_checksums(self._planes(), runs, chunk_size, _CHECKING_THREADS)

    def info(self) -> dict[str, dict[str, object]]:
        """Shape, dtype and device of every layer as vLLM registered it, JSON-ready."""
        return {
            name: {
                "shape": list(layer.shape),
                "dtype": str(layer.dtype),
                "device": str(layer.device),
            }
            for name, layer in self._layers.items()
        }

    def _planes(self) -> LayerPlanes:
        return {name: planes_of(layer, self._facts) for name, layer in self._layers.items()}

    def _check_blocks(self, runs: Sequence[SlotRun], chunk: torch.Tensor) -> None:
        size = self.spec.block_size
        self.check_slots(runs)
        if any(run.first % size or (run.last + 1) % size for run in runs):
            raise ValueError(f"vLLM's KV moves in whole blocks of {size} slots.")
        expected = self.spec.chunk_shape(count_slots(runs))
        if tuple(chunk.shape) != expected or chunk.dtype is not torch.uint8:
            raise ValueError(f"A chunk must be uint8 {list(expected)}, not {list(chunk.shape)}.")
