"""Which handler answers which method on which path."""

from collections.abc import Mapping
from typing import NamedTuple

from engine.agent import (
    bypass,
    cache,
    checksum,
    chunk_statistics,
    conf,
    freeze,
    hot_cache,
    info,
    load_fs_chunks,
    lookup,
    meta,
    metrics,
    own,
    status,
    version,
)
from engine.agent.call import Handler
from engine.agent.own_endpoints import OWN_ENDPOINTS
from engine.contract import CATALOGUE, ContractError, Endpoint
from engine.contract.values import shorten

HANDLERS: Mapping[str, Handler] = {
    **version.HANDLERS,
    **info.HANDLERS,
    **conf.HANDLERS,
    **meta.HANDLERS,
    **cache.HANDLERS,
    **checksum.HANDLERS,
    **freeze.HANDLERS,
    **hot_cache.HANDLERS,
    **bypass.HANDLERS,
    **load_fs_chunks.HANDLERS,
    **lookup.HANDLERS,
    **chunk_statistics.HANDLERS,
    **metrics.HANDLERS,
    **status.HANDLERS,
    **own.HANDLERS,
}


class Route(NamedTuple):
    """An endpoint and what answers it."""

    endpoint: Endpoint
    handler: Handler


class MethodNotAllowed(ContractError):
    """The path exists, but not with this method; `allowed` are those it has."""

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(
            405,
            "Method not allowed",
            f"'{path}' does not take {shorten(method)}; it takes {allowed}.",
        )
        self.allowed = allowed


class NotFound(ContractError):
    """No endpoint has this path."""

    def __init__(self, path: str) -> None:
        super().__init__(
            404,
            "Not found",
            f"There is no endpoint '{shorten(path)}'; GET /openapi.json lists them.",
        )


def _routes() -> dict[str, dict[str, Route]]:
    """Every path of the contract is fixed text, so that a dictionary finds it.
    HEAD is GET without the body (RFC 9110, 9.3.2)."""
    routes: dict[str, dict[str, Route]] = {}
    for entry in (*CATALOGUE, *OWN_ENDPOINTS):
        route = Route(entry, HANDLERS[entry.operation_id])
        methods = routes.setdefault(entry.path, {})
        methods[entry.method] = route
        if entry.method == "GET":
            methods["HEAD"] = route
    return routes


ROUTES = _routes()


def find_route(method: str, path: str) -> Route:
    """The route of that method and path; one trailing slash more is the same
    path. Raises NotFound and MethodNotAllowed."""
    methods = ROUTES.get(path) or ROUTES.get(path.removesuffix("/"))
    if methods is None:
        raise NotFound(path)
    route = methods.get(method)
    if route is None:
        raise MethodNotAllowed(method, path.removesuffix("/"), ", ".join(sorted(methods)))
    return route
