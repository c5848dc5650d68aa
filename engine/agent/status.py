"""`/agent/status`."""

import sys

from engine.agent.agent import Agent
from engine.agent.call import Call, Handler
from engine.agent.components import has_local_cpu_backend
from engine.agent.vllm import vllm_version
from engine.contract.version import version


async def show_status(call: Call) -> dict[str, object]:
    agent = call.agent
    return {
        "boot_id": agent.boot_id,
        "started_at": agent.started_at,
        "role": agent.metadata.role,
        "worker_id": agent.metadata.worker_id,
        "instance_id": agent.metadata.instance_id,
        "versions": _versions(),
        "generation": agent.config.generation,
        "conf_hash": agent.config.conf_hash(),
        "bypassed_backends": [],
        "lookup": None,
        "chunk_statistics": None,
        **_cache_state(agent),
    }


def _versions() -> dict[str, str | None]:
    torch = sys.modules.get("torch")
    return {
        "kvplane": version(),
        "torch": None if torch is None else str(torch.__version__),
        "vllm": vllm_version(),
    }


def _cache_state(agent: Agent) -> dict[str, object]:
    cache = agent.cache
    if cache is None:
        return {"freeze": None, "hot_cache": None, "storage": {}, "counters": {}}
    return {
        "freeze": cache.frozen,
        "hot_cache": cache.hot_cache_enabled if has_local_cpu_backend(agent) else None,
        "storage": {name: usage._asdict() for name, usage in cache.usage().items()},
        "counters": cache.counters(),
    }


HANDLERS: dict[str, Handler] = {"get_agent_status": show_status}
