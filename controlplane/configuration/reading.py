"""Asking agents for their configuration."""

from collections.abc import Sequence
from typing import cast

from controlplane import forwarding
from controlplane.configuration.schema import Keys
from controlplane.configuration.services import Observed, last_numbers
from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding import AgentAnswer, AgentFailure, BadAgentAnswer, StateAfter
from engine.contract import endpoint


def read_configurations(
    agents: Sequence[Agent], *, request_id: str, timeout: float
) -> list[Observed | AgentFailure]:
    """What each agent has now, or why it does not tell, in the order of `agents`.
    `timeout` is in seconds and for each of two calls."""
    numbers = last_numbers([agent.name for agent in agents])
    values = _ask(agents, "get_conf", request_id, timeout)
    with_schema = [agent for agent in agents if agent.dialect != Dialect.LMCACHE]
    schemas = dict(
        zip(
            (agent.pk for agent in with_schema),
            _ask(with_schema, "get_conf_schema", request_id, timeout),
            strict=True,
        )
    )
    return [
        _observed(agent, answer, schemas.get(agent.pk), numbers[agent.name])
        for agent, answer in zip(agents, values, strict=True)
    ]


def read_configuration(agent: Agent, *, request_id: str, timeout: float) -> Observed:
    """What the agent has now. Raises AgentFailure."""
    (observed,) = read_configurations([agent], request_id=request_id, timeout=timeout)
    if isinstance(observed, AgentFailure):
        raise observed
    return observed


def _ask(
    agents: Sequence[Agent], operation_id: str, request_id: str, timeout: float
) -> list[AgentAnswer | AgentFailure]:
    return forwarding.send_all(
        agents,
        endpoint(operation_id),
        query="",
        body=None,
        request_id=request_id,
        timeout=timeout,
    )


def _observed(
    agent: Agent,
    answer: AgentAnswer | AgentFailure,
    schema: AgentAnswer | AgentFailure | None,
    last_number: int,
) -> Observed | AgentFailure:
    if isinstance(answer, AgentFailure):
        return answer
    if answer.status != 200 or not isinstance(answer.document, dict):
        return BadAgentAnswer(
            agent.name, f"GET /conf answered with status {answer.status}", StateAfter.UNCHANGED
        )
    return Observed(answer.document, _keys_of(schema), last_number)


def _keys_of(schema: AgentAnswer | AgentFailure | None) -> Keys:
    # An older agent may not have this endpoint; its values are worth having.
    if not isinstance(schema, AgentAnswer) or schema.status != 200:
        return {}
    document = schema.document
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, dict) or not all(isinstance(key, dict) for key in keys.values()):
        return {}
    return cast(Keys, keys)
