"""Asking an agent how it is."""

from collections.abc import Mapping

from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding.answers import AgentAnswer, BadAgentAnswer, StateAfter
from controlplane.forwarding.client import send
from engine.contract import endpoint


def probe(agent: Agent, *, request_id: str, timeout: float) -> Mapping[str, object]:
    """What the agent says about itself: the body of `/agent/status`, or for an
    LMCache process its version and metadata. Raises AgentFailure."""
    if agent.dialect == Dialect.LMCACHE:
        version = _ask(agent, "lmc_version", request_id, timeout)
        meta = _ask(agent, "get_meta", request_id, timeout)
        return {"versions": {"lmcache": version.document}, "meta": meta.document}
    document = _ask(agent, "get_agent_status", request_id, timeout).document
    if not isinstance(document, dict):
        raise BadAgentAnswer(agent.name, "its status is not an object", StateAfter.UNCHANGED)
    return document


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
