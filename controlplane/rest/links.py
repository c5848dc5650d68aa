"""Where one thing leads to another: links for pages, and for programs that follow them."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from django.urls import reverse
from rest_framework.request import Request

_OPERATION_KEYS = {
    "operation_id": "The operation",
    "retry_of": "The operation that it repeats",
    "undo_of": "The operation that it takes back",
}


@dataclass(frozen=True)
class Link:
    """A link, and a line about where it leads."""

    title: str
    url: str
    about: str = ""


@dataclass(frozen=True)
class LinkGroup:
    """Links under one heading."""

    title: str
    links: tuple[Link, ...]


def listed(route: str, **query: str | int) -> str:
    """The URL of a list, narrowed by its filters."""
    return f"{reverse(route)}?{urlencode(query)}" if query else reverse(route)


def page_of(route: str, name: str) -> str:
    """The URL of what has that name on a list, whatever the name is."""
    return f"{reverse(route).rstrip('/')}/{quote(name, safe='')}/"


def agent_page(name: str) -> str:
    """The URL of an agent."""
    return page_of("agent-list", name)


def agent_links(name: str, request: Request | None) -> dict[str, str]:
    """URLs of what the control plane keeps about an agent, and of the agent's own status,
    by name; absolute if the request is given."""
    urls = {
        "revisions": listed("configrevision-list", agent=name),
        "modes": listed("desiredmode-list", agent=name),
        "mode_changes": listed("modechange-list", agent=name),
        "operations": listed("operation-list", agent=name),
        "chunk_statistics": listed("chunkstatisticssnapshot-list", agent=name),
        "tier_statistics": listed("tierstatisticssnapshot-list", agent=name),
        "watch": page_of("watch-list", name),
        "audit": listed("auditentry-list", agent=name),
        "status": f"/agents/{quote(name, safe='')}/agent/status",
    }
    if request is None:
        return urls
    return {key: request.build_absolute_uri(url) for key, url in urls.items()}


def links_from(document: Mapping[str, object]) -> list[Link]:
    """Where the keys of a document that name other things lead."""
    links = []
    if agent := _text(document, "agent"):
        links.append(Link(f"Agent {agent}", agent_page(agent)))
    if engine := _text(document, "engine"):
        links.append(Link(f"Engine {engine}", page_of("engine-list", engine)))
    for key, title in _OPERATION_KEYS.items():
        if operation := _text(document, key):
            links.append(Link(title, page_of("operation-list", operation)))
    if operation := _text(document, "operation_id"):
        links.append(
            Link("Audit entries of the operation", listed("auditentry-list", operation=operation))
        )
    if request_id := _text(document, "request_id"):
        links.append(
            Link("Audit entries of the request", listed("auditentry-list", request_id=request_id))
        )
    return links


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    return str(value) if value else ""
