"""The agents that `python -m engine` serves: which ones, and what they hold."""

from collections.abc import Callable

from engine.agent.agent import Agent
from engine.agent.auth import check_exposure
from engine.agent.listening import bind
from engine.agent.server import Listener
from engine.cache import CacheEngine
from engine.config import ConfigError, EngineConfig
from engine.lookup import (
    LocalWorkers,
    Lookup,
    LookupClients,
    LookupServers,
    LookupUnavailable,
)
from engine.metadata import new_engine_id, scheduler_metadata, worker_metadata

LoadConfig = Callable[[], EngineConfig]
"""Reads the configuration anew: each agent's changes separately."""

SCHEDULER_INDEX = 0


def open_listeners(load: LoadConfig) -> list[Listener]:
    """Every agent that the configuration asks for, with its port bound.

    All ports are bound before any memory is allocated, so that a port that is
    taken shows at once. Raises ConfigError.
    """
    config = load()
    check_exposure(config.internal_api_server_host, config.agent_token)
    indices = served_indices(config)
    sockets = [
        bind(config.internal_api_server_host, config.internal_api_server_port_start + index)
        for index in indices
    ]
    engine_id = new_engine_id()
    local = LocalWorkers()
    agents: dict[int, Agent] = {}
    try:
        # The scheduler last: its lookup client may ask the workers of this process.
        for index in sorted(indices, reverse=True):
            agents[index] = build_agent(load(), index, engine_id, local)
    except ConfigError:
        for agent in agents.values():
            agent.close()
        raise
    return [Listener(agents[index], bound) for index, bound in zip(indices, sockets, strict=True)]


def served_indices(config: EngineConfig) -> list[int]:
    """Which agents this process serves: 0 is the scheduler, 1 + i is worker i; the
    agent's port is the first port plus its index. Raises ConfigError if that is
    none."""
    indices = [SCHEDULER_INDEX] if config.serve_scheduler else []
    indices += [1 + worker_id for worker_id in sorted(config.worker_ids)]
    included = config.internal_api_server_include_index_list
    if included is not None:
        indices = [index for index in indices if index in included]
    if not config.internal_api_server_enabled or not indices:
        raise ConfigError(
            "There is no agent to serve: see serve_scheduler, worker_ids, "
            "internal_api_server_enabled and internal_api_server_include_index_list."
        )
    return indices


def build_agent(config: EngineConfig, index: int, engine_id: str, local: LocalWorkers) -> Agent:
    """The agent of that index, with its lookup client or server. A worker gets a paged
    KV cache of its own and joins `local`, the engine's workers in this process. Raises
    ConfigError."""
    if index == SCHEDULER_INDEX:
        metadata = scheduler_metadata(config, engine_id)
        clients = LookupClients(config, metadata, local)
        _create(clients)
        return Agent(config, metadata, None, clients)
    metadata = worker_metadata(config, index - 1, engine_id)
    cache = CacheEngine.build(config, metadata)
    servers = LookupServers(config, metadata, cache)
    try:
        _create(servers)
    except ConfigError:
        cache.close()
        raise
    local.add(index - 1, cache)
    return Agent(config, metadata, cache, servers)


def _create(lookup: Lookup) -> None:
    try:
        lookup.create()
    except LookupUnavailable as error:
        raise ConfigError(str(error)) from error
