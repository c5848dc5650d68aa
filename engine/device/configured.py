"""The paged KV cache that a configuration describes."""

import torch

from engine.config import ConfigError, EngineConfig
from engine.device.spec import KVCacheSpec


def device_of(config: EngineConfig) -> torch.device:
    """The device that the paged KV cache lies on. Raises ConfigError if it is not
    there."""
    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        raise ConfigError("'device' is cuda, but torch finds no CUDA device; use cpu or auto.")
    if config.device == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    return torch.device(config.device)


def spec_of(config: EngineConfig) -> KVCacheSpec:
    """The shape of the paged KV cache that the configuration describes."""
    return KVCacheSpec(
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_size=config.head_size,
        dtype=getattr(torch, config.kv_dtype),
        block_size=config.block_size,
        num_blocks=config.num_blocks,
        use_mla=config.use_mla,
    )
