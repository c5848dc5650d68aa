"""Which agent a forwarded call is for."""

from rest_framework.request import Request

from controlplane.fleet.models import Agent
from controlplane.fleet.services import (
    default_agent,
    default_agent_of,
    find_agent,
    find_agent_of,
)
from engine.contract import Component

AGENT_PARAMETER = "agent"
ENGINE_PARAMETER = "engine"
TARGET_PARAMETERS = frozenset({AGENT_PARAMETER, ENGINE_PARAMETER})
"""Parameters that name the target, and are not passed on to it."""
_AGENT_HEADER = "X-KVPlane-Agent"
_ENGINE_HEADER = "X-KVPlane-Engine"


def choose_agent(request: Request, agent_name: str, component: Component) -> Agent:
    """The agent named in the path, else by `?agent=`, else by X-KVPlane-Agent, else the
    only one that has the component. `?engine=`, else X-KVPlane-Engine, narrows the
    choice to one engine's agents.

    Raises ContractError: 404 for an unknown name, 409 with the candidates when
    nothing was named and it is not exactly one, or for an agent of another engine.
    """
    name = agent_name or _given(request, AGENT_PARAMETER, _AGENT_HEADER)
    engine = _given(request, ENGINE_PARAMETER, _ENGINE_HEADER)
    if engine:
        return find_agent_of(engine, name) if name else default_agent_of(engine, component)
    return find_agent(name) if name else default_agent(component)


def _given(request: Request, parameter: str, header: str) -> str:
    """What names the target, "" if nothing does."""
    value: str = request.query_params.get(parameter, "").strip()
    return value or request.headers.get(header, "").strip()
