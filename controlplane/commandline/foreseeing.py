"""Dry runs: what would be sent to whom. Nothing is sent, and nothing is written."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import RenderableType

from controlplane.commandline.tables import table
from controlplane.commandline.told import Told
from controlplane.configuration.services import known_secrets
from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding import NotCallable
from controlplane.forwarding.dialects import check_supported
from controlplane.operations.calls import check_reason
from controlplane.operations.effects import check_wishes
from controlplane.operations.planning import Plan
from controlplane.operations.strategy import check_strategy


def foresee(plan: Plan, agents: Sequence[Agent]) -> Told:
    """The calls that the plan means, by the checks that it would have to pass. Secrets
    read `***`. Raises ContractError (400)."""
    check_wishes(plan.endpoint, plan.wishes)
    check_strategy(plan.strategy, plan.endpoint)
    check_reason(plan.reason)
    call = plan.call()
    call = replace(call, secrets=known_secrets([agent.name for agent in agents]))
    query = call.shown_query()
    target = f"{plan.endpoint.path}?{query}" if query else plan.endpoint.path
    waves = plan.strategy.waves(len(agents))
    calls = [
        {
            "agent": agent.name,
            "wave": wave,
            "method": plan.endpoint.method,
            "url": f"{agent.url}{target}",
            "body": call.shown_document(),
            "refused": _refusal(plan, agent, call.query),
        }
        for agent, wave in zip(agents, waves, strict=True)
    ]
    document = {
        "dry_run": True,
        "action": plan.endpoint.action,
        "reason": plan.reason,
        "options": plan.wishes.describe(),
        "strategy": plan.strategy.describe(),
        "calls": calls,
    }
    return Told(document, shown_calls(calls))


def _refusal(plan: Plan, agent: Agent, query: str) -> str | None:
    """Why nothing would be sent to this agent; None if it would."""
    try:
        check_supported(Dialect(agent.dialect), plan.endpoint, query, agent.name)
    except NotCallable as error:
        return error.message
    return None


def shown_calls(calls: Sequence[dict[str, object]]) -> list[RenderableType]:
    """Calls that are not made, for people."""
    rows = (
        (c["agent"], c["wave"], c.get("refused") or f"{c['method']} {c['url']}", c["body"])
        for c in calls
    )
    return [table(("agent", "wave", "call", "body"), rows), "A dry run: nothing was sent."]
