"""Which components a process has."""

from collections.abc import Callable

from engine.agent.agent import Agent
from engine.agent.call import cache_engine
from engine.agent.vllm import vllm_version
from engine.contract import Component, Endpoint, Unavailable
from engine.lookup import LookupClients

LOCAL_CPU_BACKEND = "LocalCPUBackend"


def require(agent: Agent, endpoint: Endpoint) -> None:
    """Return if the agent has the component behind the endpoint; raise
    Unavailable (503) if not."""
    _CHECKS[endpoint.component](agent, endpoint)


def has_local_cpu_backend(agent: Agent) -> bool:
    """Whether the agent keeps chunks in CPU memory."""
    return agent.cache is not None and LOCAL_CPU_BACKEND in agent.cache.backends


def lookup_clients(agent: Agent, endpoint: Endpoint) -> LookupClients:
    """The scheduler's lookup clients. Raises Unavailable on a worker."""
    if not isinstance(agent.lookup, LookupClients):
        raise Unavailable(
            endpoint.path,
            f"This {agent.metadata.role} has no lookup client; ask the scheduler of "
            f"'{agent.metadata.instance_id}'.",
        )
    return agent.lookup


def _nothing(agent: Agent, endpoint: Endpoint) -> None:
    """Every process is a process."""


def _cache_engine(agent: Agent, endpoint: Endpoint) -> None:
    cache_engine(agent, endpoint)


def _local_cpu_backend(agent: Agent, endpoint: Endpoint) -> None:
    cache_engine(agent, endpoint)
    if not has_local_cpu_backend(agent):
        raise Unavailable(
            endpoint.path, f"This engine has no {LOCAL_CPU_BACKEND}; start it with local_cpu true."
        )


def _lookup_client(agent: Agent, endpoint: Endpoint) -> None:
    lookup_clients(agent, endpoint)


def _vllm(agent: Agent, endpoint: Endpoint) -> None:
    if vllm_version() is None:
        raise Unavailable(
            endpoint.path, "There is no vLLM in this process; ask an agent that runs inside one."
        )


_CHECKS: dict[Component, Callable[[Agent, Endpoint], None]] = {
    Component.PROCESS: _nothing,
    Component.CACHE_ENGINE: _cache_engine,
    Component.LOCAL_CPU_BACKEND: _local_cpu_backend,
    Component.LOOKUP: _nothing,
    Component.LOOKUP_CLIENT: _lookup_client,
    Component.VLLM: _vllm,
}
