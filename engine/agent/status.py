"""`/agent/status`."""

import sys
from collections.abc import Mapping

from engine.agent.agent import Agent
from engine.agent.backend_counts import STATUS_COUNTS
from engine.agent.call import Call, Handler
from engine.agent.components import has_local_cpu_backend
from engine.agent.vllm import vllm_version
from engine.cache import CacheEngine
from engine.contract.version import version
from engine.lookup import LookupClients, StatisticsUnavailable
from engine.storage import TallySnapshot


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
        "lookup": {"client": agent.lookup.client_name, "server": agent.lookup.server_name},
        "chunk_statistics": _statistics(agent),
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
        return {
            "freeze": None,
            "hot_cache": None,
            "bypassed_backends": [],
            "storage": {},
            "counters": agent.lookup.counters(),
        }
    return {
        "freeze": cache.frozen,
        "hot_cache": cache.hot_cache_enabled if has_local_cpu_backend(agent) else None,
        "bypassed_backends": cache.bypassed,
        "storage": _storage(cache),
        "counters": {**cache.counters(), **agent.lookup.counters()},
    }


def _statistics(agent: Agent) -> Mapping[str, object] | None:
    """None where no lookup client counts chunks."""
    if not isinstance(agent.lookup, LookupClients):
        return None
    try:
        return agent.lookup.statistics.status()
    except StatisticsUnavailable:
        return None


def _storage(cache: CacheEngine) -> dict[str, dict[str, object]]:
    tiers = cache.storage.tier_states()
    tallies = cache.storage.tallies()
    return {
        name: {
            **usage._asdict(),
            **_counts(tallies[name]),
            **(tiers[name]._asdict() if name in tiers else {}),
        }
        for name, usage in cache.usage().items()
    }


def _counts(tally: TallySnapshot) -> dict[str, int]:
    return {counted.name: int(tally.counts[counted.count]) for counted in STATUS_COUNTS}


HANDLERS: dict[str, Handler] = {"get_agent_status": show_status}
