"""Asking an agent something because a person wants to know it now."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlencode

from django.conf import settings

from controlplane import forwarding
from controlplane.audit import trail
from controlplane.fleet.models import Agent
from controlplane.operations.following import follow_call
from engine.contract import ContractError, endpoint, parse_query, read_parameters


def ask(
    agent: Agent, operation_id: str, parameters: Mapping[str, str], *, request_id: str
) -> Mapping[str, object]:
    """The agent's answer to a call that only reads, as a document. Raises ContractError:
    for parameters that the endpoint cannot read, as AgentFailure for an agent that gives
    no answer, and with the agent's own words for one that refuses."""
    asked, query = endpoint(operation_id), urlencode(parameters)
    values = read_parameters(asked, parse_query(query.encode()))
    if asked.changes(values):
        raise ValueError(f"{operation_id} with {query!r} changes something")
    follow_call(agent, asked, values)
    answer = forwarding.send(
        agent,
        asked,
        query=query,
        body=None,
        request_id=request_id,
        timeout=settings.KVPLANE_AGENT_TIMEOUT,
    )
    if (followed := trail.current()) is not None:
        followed.told.append(answer.document)
    if not isinstance(answer.document, dict):
        raise no_use(agent, "it is not an object")
    if answer.status != HTTPStatus.OK:
        raise _refusal(agent, answer.status, answer.document)
    return answer.document


def no_use(agent: Agent, why: str) -> ContractError:
    """For an answer that cannot be shown."""
    return forwarding.BadAgentAnswer(agent.name, why, forwarding.StateAfter.UNCHANGED)


def _refusal(agent: Agent, status: int, document: Mapping[str, object]) -> ContractError:
    error = str(document.get("error") or "Refused")
    message = str(document.get("message") or f"Agent '{agent.name}' answered {status}.")
    return ContractError(status, error, message)
