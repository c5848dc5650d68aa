"""Every path of the catalogue twice: for the default agent, and for a named one."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from django.urls import URLPattern, path

from controlplane.inference.forwarded import ForwardedViewSet
from controlplane.inference.viewsets.agent import AgentViewSet
from controlplane.inference.viewsets.bypass import BypassViewSet
from controlplane.inference.viewsets.cache import CacheViewSet
from controlplane.inference.viewsets.conf import ConfViewSet
from controlplane.inference.viewsets.freeze import FreezeViewSet
from controlplane.inference.viewsets.hot_cache import HotCacheViewSet
from controlplane.inference.viewsets.info import InfoViewSet
from controlplane.inference.viewsets.meta import MetaViewSet
from controlplane.inference.viewsets.version import VersionViewSet
from engine.contract import CATALOGUE, Endpoint, Group

_VIEWSETS: dict[Group, type[ForwardedViewSet]] = {
    Group.VERSION: VersionViewSet,
    Group.INFO: InfoViewSet,
    Group.CONF: ConfViewSet,
    Group.META: MetaViewSet,
    Group.CACHE: CacheViewSet,
    Group.FREEZE: FreezeViewSet,
    Group.HOT_CACHE: HotCacheViewSet,
    Group.BYPASS: BypassViewSet,
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
        for scope, prefix in (("default", "/"), ("agent", "/agents/<str:agent_name>/")):
            full = prefix.removeprefix("/") + route.removeprefix("/")
            yield path(full, view, name=f"{scope}{route}")
            yield path(f"{full}/", slashed)


urlpatterns = list(_routes())
