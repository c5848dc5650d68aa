"""Every path of the catalogue twice: for the default agent, and for a named one."""

from collections.abc import Iterator
from itertools import groupby

from django.urls import URLPattern, path

from controlplane.inference.forwarded import ForwardedViewSet
from controlplane.inference.viewsets.agent import AgentViewSet
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
    Group.AGENT: AgentViewSet,
}


def _routes() -> Iterator[URLPattern]:
    by_path = sorted(CATALOGUE, key=lambda endpoint: endpoint.path)
    for route, grouped in groupby(by_path, key=lambda endpoint: endpoint.path):
        endpoints: dict[str, Endpoint] = {entry.method.lower(): entry for entry in grouped}
        viewset = _VIEWSETS[next(iter(endpoints.values())).group]
        view = viewset.as_view(
            {method: entry.operation_id for method, entry in endpoints.items()},
            endpoints=endpoints,
            name=route,
        )
        yield path(route.removeprefix("/"), view, name=f"default:{route}")
        yield path(f"agents/<str:agent_name>{route}", view, name=f"agent:{route}")


urlpatterns = list(_routes())
