"""Which agent a forwarded call is for."""

from rest_framework.request import Request

from controlplane.fleet.models import Agent
from controlplane.fleet.services import default_agent, find_agent
from engine.contract import Component

AGENT_HEADER = "X-KVPlane-Agent"
AGENT_PARAMETER = "agent"


def choose_agent(request: Request, agent_name: str, component: Component) -> Agent:
    """The agent named in the path, else by `?agent=`, else by X-KVPlane-Agent,
    else the only one that has the component.

    Raises ContractError: 404 for an unknown name, 409 with the candidates when
    nothing was named and it is not exactly one.
    """
    name = (
        agent_name
        or request.query_params.get(AGENT_PARAMETER, "").strip()
        or request.headers.get(AGENT_HEADER, "").strip()
    )
    return find_agent(name) if name else default_agent(component)
