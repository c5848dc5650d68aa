"""What the connector holds in each of vLLM's processes."""

import logging
import threading
from typing import TYPE_CHECKING

import torch

from engine.agent.agent import Agent
from engine.cache import CacheEngine
from engine.config import ConfigError, EngineConfig
from engine.lookup import (
    LocalWorkers,
    Lookup,
    LookupClients,
    LookupServers,
    LookupUnavailable,
)
from engine.lookup.addresses import address_of
from engine.metadata import new_engine_id
from engine.vllm.description import describe
from engine.vllm.facts import KVFacts
from engine.vllm.hosting import AgentHost, is_served
from engine.vllm.kv_cache import VllmKVCache
from engine.vllm.scheduler_side import SchedulerSide
from engine.vllm.settings import load_config, metadata_of_scheduler, metadata_of_worker
from engine.vllm.vllm_engine import MOCK_SALT, VllmCacheEngine
from engine.vllm.worker_side import WorkerSide

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig

logger = logging.getLogger(__name__)
_SCHEDULER_INDEX = 0

_local: dict[str, LocalWorkers] = {}
_changing = threading.Lock()


class SchedulerProcess:
    """The scheduler's side, its lookup client and its agent."""

    def __init__(self, vllm_config: "VllmConfig", facts: KVFacts) -> None:
        config = load_config(vllm_config, facts)
        if config.controlplane_url is not None and vllm_config.shutdown_timeout == 0:
            logger.warning(
                "vLLM will kill its processes when it stops, and the control plane will not be "
                "told; start vLLM with --shutdown-timeout 10."
            )
        metadata = metadata_of_scheduler(config, facts, new_engine_id())
        clients = LookupClients(config, metadata, _local_workers(config), mock_salt=MOCK_SALT)
        _create(clients)
        self.side = SchedulerSide(config, metadata, clients)
        self._agent = Agent(config, metadata, None, clients, vllm_config=describe(vllm_config))
        self._host = _host(self._agent, _SCHEDULER_INDEX)

    def close(self) -> None:
        if self._host is not None:
            self._host.stop()
        self._agent.close()


class WorkerProcess:
    """A worker's side, its cache engine, lookup server and agent; from the moment on at
    which vLLM has a KV cache."""

    def __init__(
        self, vllm_config: "VllmConfig", kv_cache_config: "KVCacheConfig", facts: KVFacts
    ) -> None:
        self._vllm_config = vllm_config
        self._kv_cache_config = kv_cache_config
        self._facts = facts
        self._config = load_config(vllm_config, facts)
        self._rank = vllm_config.parallel_config.rank
        self._started: _Started | None = None

    def start(self, kv_caches: dict[str, torch.Tensor]) -> None:
        """vLLM has allocated these layers. Raises ConfigError and
        UnsupportedByConnector."""
        metadata = metadata_of_worker(self._config, self._facts, self._rank, new_engine_id())
        kv_cache = VllmKVCache(kv_caches, self._kv_cache_config, self._facts)
        engine = VllmCacheEngine.over(kv_cache, self._config, metadata)
        servers = LookupServers(self._config, metadata, engine)
        _create(servers)
        _local_workers(self._config).add(self._rank, engine)
        agent = Agent(
            self._config, metadata, engine, servers, vllm_config=describe(self._vllm_config)
        )
        side = WorkerSide(engine, self._facts.block_size)
        self._started = _Started(side, engine, agent, _host(agent, 1 + self._rank))

    @property
    def side(self) -> WorkerSide:
        if self._started is None:
            raise RuntimeError("vLLM has not registered its KV caches yet.")
        return self._started.side

    def close(self) -> None:
        if self._started is not None:
            _local_workers(self._config).remove(self._rank, self._started.engine)
            self._started.close()
            self._started = None


class _Started:
    def __init__(
        self, side: WorkerSide, engine: CacheEngine, agent: Agent, host: AgentHost | None
    ) -> None:
        self.side = side
        self.engine = engine
        self._agent = agent
        self._host = host

    def close(self) -> None:
        if self._host is not None:
            self._host.stop()
        self.side.close()
        self._agent.close()


def _local_workers(config: EngineConfig) -> LocalWorkers:
    """The workers of that engine in this process: where vLLM runs in one process, its
    scheduler can ask them directly."""
    with _changing:
        return _local.setdefault(address_of(config, 0), LocalWorkers())


def _create(lookup: Lookup) -> None:
    try:
        lookup.create()
    except LookupUnavailable as error:
        raise ConfigError(str(error)) from error


def _host(agent: Agent, index: int) -> AgentHost | None:
    """None if the configuration does not want it served."""
    return AgentHost(agent, index) if is_served(agent.config, index) else None
