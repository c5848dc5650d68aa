"""Asking an agent how it is."""

import hashlib
import json
from collections.abc import Mapping

from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding.answers import AgentAnswer, BadAgentAnswer, StateAfter
from controlplane.forwarding.client import send
from engine.contract import Role, endpoint

_LMCACHE_STATUS = (
    ("freeze", "get_freeze_status", "freeze"),
    ("hot_cache", "get_hot_cache_status", "hot_cache"),
    ("bypassed_backends", "list_bypassed", "bypassed_backends"),
)


def probe(agent: Agent, *, request_id: str, timeout: float) -> Mapping[str, object]:
    """What the agent says about itself: the body of `/agent/status`, or for an
    LMCache process what its documented calls tell. Raises AgentFailure."""
    if agent.dialect == Dialect.LMCACHE:
        return _probe_lmcache(agent, request_id, timeout)
    document = _ask(agent, "get_agent_status", request_id, timeout).document
    if not isinstance(document, dict):
        raise BadAgentAnswer(agent.name, "its status is not an object", StateAfter.UNCHANGED)
    return document


def _probe_lmcache(agent: Agent, request_id: str, timeout: float) -> dict[str, object]:
    """What the documented calls tell, as far as this process has them."""
    said: dict[str, object] = {
        "versions": {"lmcache": _ask(agent, "get_lmc_version", request_id, timeout).document},
        "meta": _ask(agent, "get_meta", request_id, timeout).document,
    }
    for name, operation_id, field in _LMCACHE_STATUS:
        try:
            document = _ask(agent, operation_id, request_id, timeout).document
        except BadAgentAnswer:
            continue
        if isinstance(document, dict) and field in document:
            said[name] = document[field]
    if agent.role == Role.SCHEDULER.value:
        said["chunk_statistics"] = _statistics(agent, request_id, timeout)
    conf = _ask(agent, "get_conf", request_id, timeout).document
    said["conf_hash"] = hashlib.sha256(json.dumps(conf, sort_keys=True).encode()).hexdigest()
    return said


def _statistics(agent: Agent, request_id: str, timeout: float) -> object:
    """None where nothing counts, as in `/agent/status`."""
    try:
        return _ask(agent, "get_chunk_statistics_status", request_id, timeout).document
    except BadAgentAnswer:
        return None


def _ask(agent: Agent, operation_id: str, request_id: str, timeout: float) -> AgentAnswer:
    answer = send(
        agent,
        endpoint(operation_id),
        query="",
        body=None,
        request_id=request_id,
        timeout=timeout,
    )
    if answer.status != 200:
        raise BadAgentAnswer(
            agent.name, f"it answered with status {answer.status}", StateAfter.UNCHANGED
        )
    return answer
