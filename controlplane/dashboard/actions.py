"""What can be done to selected agents, and to whom of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.fleet.models import Agent
from engine.contract import CATALOGUE, Endpoint, Group, Role

_ENDPOINTS = {entry.action: entry for entry in CATALOGUE if entry.action is not None}


_MODES = frozenset({Group.FREEZE, Group.HOT_CACHE, Group.BYPASS})
_NOT_FOR = {
    Role.SCHEDULER: "a scheduler has no KV cache",
    Role.WORKER: "a worker counts no prompts, the scheduler of its engine does",
}


@dataclass(frozen=True)
class Action:
    """A button of the fleet page."""

    name: str
    """Of the action, as the audit log has it."""
    title: str
    backend_parameter: str = ""
    """The parameter that names a backend; "" if none does."""
    all_backends: bool = False
    """Whether no name of a backend means all of them."""
    loss: str = ""
    """What nobody can bring back afterwards; "" if nothing is lost."""

    @property
    def endpoint(self) -> Endpoint:
        """What each agent is called with."""
        return _ENDPOINTS[self.name]

    @property
    def roles(self) -> frozenset[Role]:
        """The roles of the agents that have what it changes."""
        return frozenset(self.endpoint.component.default_roles)

    @property
    def not_for(self) -> str:
        """Why agents of the other role are left out."""
        return _NOT_FOR[next(role for role in Role if role not in self.roles)]

    @property
    def can_end(self) -> bool:
        """Whether the control plane can turn it back by itself."""
        return self.endpoint.group in _MODES


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("freeze.enable", "Freeze"),
        Action("freeze.disable", "Unfreeze"),
        Action("bypass.add", "Bypass a backend", backend_parameter="backend_name"),
        Action("bypass.remove", "End a bypass", backend_parameter="backend_name"),
        Action("hot_cache.enable", "Hot cache on"),
        Action("hot_cache.disable", "Hot cache off"),
        Action(
            "cache.clear",
            "Clear cache",
            backend_parameter="locations",
            all_backends=True,
            loss="What is cached is lost, and has to be computed again. A remote store that other "
            "engines share is emptied for them too.",
        ),
        Action("chunk_statistics.start", "Start statistics"),
        Action("chunk_statistics.stop", "Stop statistics"),
        Action(
            "chunk_statistics.reset",
            "Reset statistics",
            loss="What the agents counted so far is lost; what was sampled of it stays.",
        ),
    )
}


def actions_for(role: str) -> list[Action]:
    """Those that an agent of that role has something for."""
    return [action for action in ACTIONS.values() if role in action.roles]


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
    known = {agent.name for agent in agents}
    return Chosen(
        called=[agent for agent in agents if agent.role in action.roles],
        left_out=[agent for agent in agents if agent.role not in action.roles],
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
