"""What can be done to selected agents, and to whom of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.fleet.models import Agent
from engine.contract import CATALOGUE, Endpoint

_ENDPOINTS = {entry.action: entry for entry in CATALOGUE if entry.action is not None}


@dataclass(frozen=True)
class Action:
    """A button of the fleet page."""

    name: str
    """Of the action, as the audit log has it."""
    title: str
    takes_backend: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """What each agent is called with."""
        return _ENDPOINTS[self.name]


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("freeze.enable", "Freeze"),
        Action("freeze.disable", "Unfreeze"),
        Action("bypass.add", "Bypass a backend", takes_backend=True),
        Action("bypass.remove", "End a bypass", takes_backend=True),
        Action("hot_cache.enable", "Hot cache on"),
        Action("hot_cache.disable", "Hot cache off"),
    )
}


@dataclass(frozen=True)
class Chosen:
    """The agents that were selected: those to be called, those that have nothing that
    the action could change, and names that nobody has any more."""

    called: Sequence[Agent]
    left_out: Sequence[Agent]
    missing: Sequence[str]

    @property
    def silent(self) -> list[Agent]:
        """Those to be called that do not look as if they would answer."""
        return [agent for agent in self.called if agent.left_at or agent.health == "offline"]


def choose(names: Sequence[str], action: Action) -> Chosen:
    """Sort the agents of those names. One query."""
    found = Agent.objects.filter(name__in=names).select_related("engine").order_by("name")
    agents = list(found.defer("encrypted_token"))
    roles = {role.value for role in action.endpoint.component.default_roles}
    known = {agent.name for agent in agents}
    return Chosen(
        called=[agent for agent in agents if agent.role in roles],
        left_out=[agent for agent in agents if agent.role not in roles],
        missing=sorted({*names} - known),
    )


def backends_of(agents: Sequence[Agent]) -> list[str]:
    """The backends that the agents told of, and those that they bypass."""
    names: set[str] = set()
    for agent in agents:
        for part in ("storage", "bypassed_backends"):
            said = agent.last_status.get(part)
            names.update(map(str, said) if isinstance(said, dict | list) else ())
    return sorted(names)
