"""Finding agents: by name, or the only one that has what a call needs."""

from collections.abc import Sequence

from controlplane.fleet.errors import (
    AgentNotFound,
    AgentOfAnotherEngine,
    EngineNotFound,
    NoDefaultAgent,
)
from controlplane.fleet.models import Agent, Engine
from controlplane.rows import Columns, read_rows
from engine.contract import Component

MAX_CANDIDATES = 100
# What a forwarded call needs.
_CALLABLE = (
    Columns(
        Agent,
        "agent",
        ("id", "name", "engine", "role", "worker_id", "url", "dialect", "encrypted_token"),
    ),
    Columns(Engine, "engine", ("id", "name")),
)
_FROM = "FROM fleet_agent agent JOIN fleet_engine engine ON engine.id = agent.engine_id"


def find_agent(name: str) -> Agent:
    """The agent of that name, in one query; what a call does not need loads when
    asked for. Raises AgentNotFound."""
    found = _read(f"{_FROM} WHERE agent.name = %s", [name])
    if not found:
        raise AgentNotFound(name)
    return found[0]


def find_agent_of(engine: str, name: str) -> Agent:
    """The agent of that name, which must belong to that engine. Raises AgentNotFound
    and AgentOfAnotherEngine."""
    agent = find_agent(name)
    if not Agent.objects.filter(name=name, engine__name=engine).exists():
        raise AgentOfAnotherEngine(name, engine)
    return agent


def agents_with(component: Component) -> list[Agent]:
    """Agents that have the component when all is well and have not left, by name; at
    most MAX_CANDIDATES of them."""
    return _with_component(component, "", [])


def agents_of_engine_with(engine: str, component: Component) -> list[Agent]:
    """As agents_with, of one engine. Raises EngineNotFound."""
    agents = _with_component(
        component,
        "AND agent.engine_id = (SELECT id FROM fleet_engine WHERE name = %s)",
        [engine],
    )
    if not agents and not Engine.objects.filter(name=engine).exists():
        raise EngineNotFound(engine)
    return agents


def _with_component(component: Component, condition: str, values: list[str]) -> list[Agent]:
    roles = [role.value for role in component.default_roles]
    places = ", ".join(["%s"] * len(roles))
    return _read(
        f"{_FROM} WHERE agent.role IN ({places}) AND agent.left_at IS NULL {condition} "
        "ORDER BY agent.name LIMIT %s",
        [*roles, *values, MAX_CANDIDATES],
    )


def _read(tail: str, values: Sequence[object]) -> list[Agent]:
    agents: list[Agent] = []
    for agent, engine in read_rows(_CALLABLE, tail, values):
        agent.engine = engine
        agents.append(agent)
    return agents


def default_agent_of(engine: str, component: Component) -> Agent:
    """The only agent of that engine that has the component. Raises EngineNotFound and
    NoDefaultAgent."""
    return _the_only(agents_of_engine_with(engine, component), component)


def default_agent(component: Component) -> Agent:
    """The only agent that has the component, in one query. Raises
    NoDefaultAgent, with the candidates' names, if it is not exactly one."""
    return _the_only(agents_with(component), component)


def _the_only(agents: list[Agent], component: Component) -> Agent:
    if len(agents) != 1:
        raise NoDefaultAgent(component, [agent.name for agent in agents])
    return agents[0]
