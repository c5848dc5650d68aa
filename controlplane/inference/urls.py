"""Every path of the catalogue twice: for the default agent, and for a named one."""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from django.urls import Resolver404, ResolverMatch, URLPattern, URLResolver, path
from django.urls.resolvers import RoutePattern
from django.utils.functional import cached_property

from controlplane.inference.forwarded import ForwardedViewSet
from controlplane.inference.viewsets.agent import AgentViewSet
from controlplane.inference.viewsets.bypass import BypassViewSet
from controlplane.inference.viewsets.cache import CacheViewSet
from controlplane.inference.viewsets.chunk_statistics import ChunkStatisticsViewSet
from controlplane.inference.viewsets.conf import ConfViewSet
from controlplane.inference.viewsets.freeze import FreezeViewSet
from controlplane.inference.viewsets.hot_cache import HotCacheViewSet
from controlplane.inference.viewsets.info import InfoViewSet
from controlplane.inference.viewsets.lookup import LookupViewSet
from controlplane.inference.viewsets.meta import MetaViewSet
from controlplane.inference.viewsets.version import VersionViewSet
from engine.contract import CATALOGUE, Endpoint, Group

_SCOPE_ROUTE = "agents/<str:agent_name>/"
_SCOPE = re.compile("agents/[^/]+/")
_VIEWSETS: dict[Group, type[ForwardedViewSet]] = {
    Group.VERSION: VersionViewSet,
    Group.INFO: InfoViewSet,
    Group.CONF: ConfViewSet,
    Group.META: MetaViewSet,
    Group.CACHE: CacheViewSet,
    Group.FREEZE: FreezeViewSet,
    Group.HOT_CACHE: HotCacheViewSet,
    Group.BYPASS: BypassViewSet,
    Group.LOOKUP: LookupViewSet,
    Group.CHUNK_STATISTICS: ChunkStatisticsViewSet,
    Group.AGENT: AgentViewSet,
}


def _routes() -> Iterator[URLPattern]:
    by_path = sorted(CATALOGUE, key=lambda endpoint: endpoint.path)
    for route, grouped in groupby(by_path, key=lambda endpoint: endpoint.path):
        endpoints: dict[str, Endpoint] = {entry.method.lower(): entry for entry in grouped}
        viewset = _VIEWSETS[next(iter(endpoints.values())).group]
        actions: dict[str, Any] = {
            method: entry.operation_id for method, entry in endpoints.items()
        }
        view = viewset.as_view(actions, endpoints=endpoints, name=route)
        # A trailing slash answers the same, but is not another endpoint.
        slashed = viewset.as_view(actions, endpoints=endpoints, name=route, schema=None)
        for scope, prefix in (("default", ""), ("agent", _SCOPE_ROUTE)):
            full = prefix + route.removeprefix("/")
            yield path(full, view, name=f"{scope}{route}")
            yield path(f"{full}/", slashed)


class CatalogueResolver(URLResolver):
    """Looks a path up instead of trying some fifty patterns in turn. For reversing
    and for the schema it is the list of patterns that it holds."""

    def resolve(self, path: str) -> ResolverMatch:
        """Raises Resolver404."""
        scope = _SCOPE.match(path)
        route = _SCOPE_ROUTE + path[scope.end() :] if scope else path
        pattern = self._by_route.get(route)
        match = None if pattern is None else pattern.resolve(path)
        if match is None:
            raise Resolver404({"path": path, "tried": [[self]]})
        return match

    @cached_property
    def _by_route(self) -> dict[str, URLPattern]:
        patterns = (entry for entry in self.url_patterns if isinstance(entry, URLPattern))
        return {str(pattern.pattern): pattern for pattern in patterns}


urlpatterns = [CatalogueResolver(RoutePattern(""), list(_routes()))]
