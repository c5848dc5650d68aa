"""The documented calls, as links to their pages."""

from itertools import groupby
from urllib.parse import quote

from controlplane.rest.links import Link, LinkGroup
from engine.contract import CATALOGUE, Endpoint


def calls_of(agent_name: str = "") -> list[LinkGroup]:
    """Every documented call by group, at the paths of that agent, or without a name at
    those for which an agent can be chosen. A change is told by its method."""
    base = f"/agents/{quote(agent_name, safe='')}" if agent_name else ""
    return [
        LinkGroup(title_of(group.value), tuple(_link(base, endpoint) for endpoint in endpoints))
        for group, endpoints in groupby(CATALOGUE, key=lambda endpoint: endpoint.group)
    ]


def title_of(group: str) -> str:
    """A group's name as a heading."""
    return group.replace("_", " ").capitalize()


def _link(base: str, endpoint: Endpoint) -> Link:
    return Link(
        f"{endpoint.method} {endpoint.path}",
        f"{base}{endpoint.path}#{endpoint.operation_id}",
        endpoint.summary,
    )
