"""Which agents an operation is for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.fleet.models import Agent
from engine.contract import ContractError, Endpoint, Role

MAX_TARGETS = 10_000
_NAMED_AT_MOST = 10


class NobodySelected(ContractError):
    """No agent fits the selector, or a name is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "Nobody selected", message)


@dataclass(frozen=True)
class Selector:
    """Agents that fit everything that is given; nothing given fits nobody, but for
    `everybody`. An agent's labels come before those of its engine."""

    agents: Sequence[str] = ()
    engines: Sequence[str] = ()
    roles: Sequence[Role] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    everybody: bool = False

    def describe(self) -> dict[str, object]:
        """As it is stored and shown."""
        given: dict[str, object] = {
            "agents": list(self.agents),
            "engines": list(self.engines),
            "roles": [role.value for role in self.roles],
            "labels": dict(self.labels),
            "everybody": self.everybody,
        }
        return {name: value for name, value in given.items() if value}


def select(selector: Selector, endpoint: Endpoint) -> list[Agent]:
    """The agents, by name. Unless agents or roles are named, only those of a role that
    has what the call needs; unless agents are named, only those that have not left.
    Raises NobodySelected."""
    if not selector.describe():
        raise NobodySelected(
            "'selector': say which agents, with agents, engines, roles or labels, or "
            '{"everybody": true}.'
        )
    found = Agent.objects.select_related("engine").defer("last_status").order_by("name")
    if selector.agents:
        found = found.filter(name__in=selector.agents)
    else:
        found = found.filter(left_at=None)
    if selector.engines:
        found = found.filter(engine__name__in=selector.engines)
    roles = selector.roles or (() if selector.agents else endpoint.component.default_roles)
    if roles:
        found = found.filter(role__in=[role.value for role in roles])
    agents = [agent for agent in found if _has_labels(agent, selector.labels)]
    _check_names("agents", selector.agents, {agent.name for agent in agents})
    _check_names("engines", selector.engines, {agent.engine.name for agent in agents})
    if not agents:
        raise NobodySelected(
            f"'selector' fits no agent that {endpoint.path} is for; GET /api/v1/agents/ lists them."
        )
    if len(agents) > MAX_TARGETS:
        raise NobodySelected(f"'selector' fits {len(agents)} agents; at most {MAX_TARGETS}.")
    return agents


def _has_labels(agent: Agent, labels: Mapping[str, str]) -> bool:
    own = {**agent.engine.labels, **agent.labels}
    return all(own.get(name) == value for name, value in labels.items())


def _check_names(what: str, wanted: Sequence[str], found: set[str]) -> None:
    missing = [name[:128] for name in wanted if name not in found]
    if missing:
        named = ", ".join(missing[:_NAMED_AT_MOST])
        raise NobodySelected(
            f"'selector.{what}': {named}: not known, or ruled out by the rest of the selector."
        )
