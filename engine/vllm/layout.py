"""How the KV of a block lies in memory that vLLM allocated."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from engine.device import SlotsUnreadable
from engine.vllm.errors import UnsupportedByConnector
from engine.vllm.facts import KVFacts

if TYPE_CHECKING:
    from vllm.v1.kv_cache_interface import KVCacheConfig

Planes = Sequence[torch.Tensor]
"""K and V of a layer, or its latent vectors: [blocks, block_size, heads, head_size]
(latent: [blocks, block_size, head_size])."""


def byte_view(
    kv_caches: Mapping[str, torch.Tensor], kv_cache_config: "KVCacheConfig", facts: KVFacts
) -> torch.Tensor:
    """All of it as bytes, uint8 [num_blocks, layers, block_size, bytes]: what a block
    holds for a layer, cut into block_size pieces of equal length. A piece need not be
    the KV of one slot. Raises UnsupportedByConnector if vLLM's placement of the
    layers cannot be seen so."""
    tensors = kv_cache_config.kv_cache_tensors
    if len(tensors) != 1:
        raise UnsupportedByConnector(
            f"vLLM made {len(tensors)} sets of KV cache layers; KVPlane caches models whose "
            "layers are all of one shape."
        )
    [tensor] = tensors
    storages = {kv_caches[name].untyped_storage().data_ptr() for name in tensor.layers}
    if len(storages) != 1:
        raise UnsupportedByConnector("vLLM allocated the KV cache in several pieces.")
    first = kv_caches[tensor.layers[0]]
    whole = torch.empty(0, dtype=torch.uint8, device=first.device).set_(first.untyped_storage())
    piece = facts.page_bytes // facts.block_size
    shape = (facts.num_blocks, len(tensor.layers), facts.block_size, piece)
    start = first.storage_offset() * first.element_size()
    strides = (tensor.block_stride, tensor.layer_stride, piece, 1)
    end = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
    if end > whole.numel():
        raise UnsupportedByConnector("vLLM's KV cache is smaller than it said.")
    return whole.as_strided(shape, strides, start)


def planes_of(layer: torch.Tensor, facts: KVFacts) -> Planes:
    """One layer's K and V, or latent vectors, by slot: views, whatever the order of the
    elements. Raises SlotsUnreadable for an order that is not known."""
    size = facts.head_size
    if facts.use_mla:
        return [layer.squeeze(1)]
    if layer.device.type != "cpu":
        by_slot = layer.permute(0, 2, 1, 3)
        return [by_slot[..., :size], by_slot[..., size:]]
    if _is_packed(facts):
        raise SlotsUnreadable(
            "On this processor vLLM packs bfloat16 KV for AMX; its slots cannot be read."
        )
    # vLLM's CPU kernels keep, for each block and head, K transposed and then V.
    num_blocks, num_heads, block_size, _ = layer.shape
    half = block_size * size
    block, head = layer.stride(0), layer.stride(1)
    start = layer.storage_offset()
    shape = (num_blocks, block_size, num_heads, size)
    return [
        layer.as_strided(shape, (block, 1, head, block_size), start),
        layer.as_strided(shape, (block, size, head, 1), start + half),
    ]


def _is_packed(facts: KVFacts) -> bool:
    """Whether vLLM's CPU kernels pack KV for AMX, as vllm.v1.attention.backends.cpu_attn
    decides it."""
    return (
        facts.kv_dtype == "bfloat16"
        and facts.block_size % 32 == 0
        and facts.head_size % 32 == 0
        and torch.cpu._is_amx_tile_supported()
    )
