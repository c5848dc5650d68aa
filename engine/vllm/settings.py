"""The configuration of an agent inside vLLM."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.config import ConfigError, EngineConfig, FixedBecause
from engine.metadata import EngineMetadata, scheduler_metadata, worker_metadata
from engine.vllm.errors import UnsupportedByConnector
from engine.vllm.facts import KVFacts

if TYPE_CHECKING:
    from vllm.config import VllmConfig

# Refused at the start, so it must not come by the API either.
_FIXED = {"save_unfull_chunk": FixedBecause.BLOCKS}


def load_config(vllm_config: "VllmConfig", facts: KVFacts) -> EngineConfig:
    """From the file, the environment and kv_connector_extra_config; what vLLM decides
    wins. Data parallel engines get a name and ports of their own each. Raises
    ConfigError and UnsupportedByConnector."""
    transfer = vllm_config.kv_transfer_config
    extra = {} if transfer is None else dict(transfer.kv_connector_extra_config)
    keys = {**facts.as_keys(), "worker_ids": list(range(facts.world_size))}
    config = EngineConfig.load(environ=os.environ, extra=extra, flags=keys, fixed=_FIXED)
    parallel = vllm_config.parallel_config
    if parallel.data_parallel_size > 1:
        rank = parallel.data_parallel_index
        keys["lmcache_instance_id"] = f"{config.lmcache_instance_id}-dp{rank}"
        keys["internal_api_server_port_start"] = config.internal_api_server_port_start + rank * (
            1 + facts.world_size
        )
        config = EngineConfig.load(environ=os.environ, extra=extra, flags=keys, fixed=_FIXED)
    if config.chunk_size % facts.block_size:
        raise UnsupportedByConnector(
            f"'chunk_size' is {config.chunk_size}, which is no multiple of vLLM's block size "
            f"{facts.block_size}; set it to {facts.block_size} or a multiple."
        )
    if config.save_unfull_chunk:
        raise ConfigError(
            "'save_unfull_chunk' is true, but vLLM's KV moves in whole blocks; set it to false."
        )
    return config


def metadata_of_scheduler(config: EngineConfig, facts: KVFacts, engine_id: str) -> EngineMetadata:
    return replace(scheduler_metadata(config, engine_id), fmt=facts.fmt)


def metadata_of_worker(
    config: EngineConfig, facts: KVFacts, rank: int, engine_id: str
) -> EngineMetadata:
    return replace(worker_metadata(config, rank, engine_id), fmt=facts.fmt)
