"""Asking agents how they are for somebody, on the record."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import transaction

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.fleet.models import Agent
from controlplane.fleet.observing import record_observation
from controlplane.forwarding import AgentFailure
from controlplane.forwarding.probe import probe
from controlplane.operations.calls import check_reason
from engine.contract import ContractError

ACTION = "agent.probe"
_AT_ONCE = 32

Said = Mapping[str, object] | ContractError
"""What an agent says about itself, or why nothing is known."""


def probe_on_record(
    agents: Sequence[Agent], *, actor: Actor, reason: str, request_id: str, timeout: float
) -> list[Said]:
    """Ask all agents at once, each with its own timeout in seconds, keep what they say
    and note who asked; in the order of `agents`. Raises ContractError (400) for a reason
    that is too long, and django.db.DatabaseError."""
    check_reason(reason)

    def ask(agent: Agent) -> Said:
        try:
            return probe(agent, request_id=request_id, timeout=timeout)
        except AgentFailure as failure:
            return failure

    if len(agents) == 1:
        said = [ask(agents[0])]
    else:
        with ThreadPoolExecutor(_AT_ONCE, "probe") as threads:
            said = list(threads.map(ask, agents))
    return [
        _keep(agent, told, actor, reason, request_id)
        for agent, told in zip(agents, said, strict=True)
    ]


def _keep(agent: Agent, said: Said, actor: Actor, reason: str, request_id: str) -> Said:
    with transaction.atomic():
        if not isinstance(said, ContractError):
            try:
                record_observation(agent, said)
            except ContractError as error:
                said = error
        failed = isinstance(said, ContractError)
        audit.record(
            action=ACTION,
            actor=actor,
            request_id=request_id,
            agent=agent.name,
            engine=agent.engine.name,
            reason=reason,
            answer=said.body() if isinstance(said, ContractError) else None,
            outcome="failed" if failed else "succeeded",
            status=said.status if isinstance(said, ContractError) else 200,
        )
    return said
