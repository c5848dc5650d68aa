"""Where a person begins who knows nothing but the address."""

from typing import Any, ClassVar

from django.urls import reverse as path_of
from django.utils.decorators import method_decorator
from django.views.decorators.vary import vary_on_headers
from django.views.generic import RedirectView
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from controlplane.accounts.models import UserRole
from controlplane.accounts.permissions import ViewersReadOperatorsChange, access_role
from controlplane.fleet.suggesting import agent_names
from controlplane.resources import ROUTES
from controlplane.rest.browsing import PageRenderer
from controlplane.rest.calls import calls_of
from controlplane.rest.components import LINKS
from controlplane.rest.links import Link, LinkGroup, agent_page
from engine.contract.components import referred

_PROGRAM, _BROWSER = "application/json", "text/html"

_DOCUMENTS = {"docs": "docs", "redoc": "redoc", "schema": "schema"}
_ROUTES = {**ROUTES, **_DOCUMENTS}
_ABOUT: dict[str, dict[str, str]] = {
    "The fleet": {
        "agents": "the processes that serve the documented API; from here to every call of each",
        "engines": "the vLLM instances that they belong to",
        "enrolment-tokens": "with which agents register themselves",
    },
    "Changes": {
        "operations": "make one change on many agents, and see what came of each",
        "config-revisions": "every configuration that an agent had: compare, roll back",
        "modes": "freeze, hot cache and bypasses as they should be now",
        "mode-changes": "their history: who, why, until when",
    },
    "Watching": {
        "watches": "which agents drifted, and what is done about it",
        "controllers": "the control loops that run",
        "chunk-statistics": "what agents counted: snapshots, series, export",
        "tier-statistics": "hit rates of each tier, and what was in it: snapshots, series, export",
    },
    "Record and access": {
        "audit": "who did what, when and why; search, verify, export",
        "users": "who may log in, and with which role",
        "tokens": "with which programs call this API",
    },
    "Documents": {
        "docs": "every call of this API, to be tried out",
        "redoc": "the same, to be read",
        "schema": "the same as OpenAPI, for programs that make clients",
    },
}
_SHOWN_AGENTS = 12


class StartRenderer(PageRenderer):
    """The start page: what there is, and what to do next."""

    template = "rest_framework/start.html"

    def get_context(  # type: ignore[no-untyped-def]
        self, data, accepted_media_type, renderer_context
    ) -> dict[str, Any]:
        """What the template needs."""
        context = super().get_context(data, accepted_media_type, renderer_context)
        if context["problem"] is None:
            agents = agent_names()
            context.update(
                link_groups=resource_groups(),
                agents=[Link(name, agent_page(name)) for name in agents[:_SHOWN_AGENTS]],
                more_agents=len(agents) > _SHOWN_AGENTS,
                is_admin=access_role(renderer_context["request"]) is UserRole.ADMIN,
                call_groups=calls_of(),
                here=renderer_context["request"].build_absolute_uri("/").rstrip("/"),
            )
        return context


def resource_groups() -> list[LinkGroup]:
    """The control plane's own resources, each with a line about it."""
    groups = [
        LinkGroup(
            title,
            tuple(Link(name, path_of(_ROUTES[name]), about) for name, about in lines.items()),
        )
        for title, lines in _ABOUT.items()
    ]
    admin = Link("admin", path_of("admin:index"), "the same as tables, with actions on many rows")
    return [*groups[:-1], LinkGroup(groups[-1].title, (*groups[-1].links, admin))]


@method_decorator(vary_on_headers("Accept"), name="dispatch")
class ToStart(RedirectView):
    """A browser, which would rather have HTML, goes to the dashboard, and anybody else to
    the index of the API."""

    def get_redirect_url(self, *args: object, **kwargs: object) -> str:
        """Where to."""
        prefers_html = self.request.get_preferred_type([_PROGRAM, _BROWSER]) == _BROWSER
        return reverse("dashboard:fleet" if prefers_html else "index")


class IndexView(ViewersReadOperatorsChange, APIView):
    """The control plane's own resources. The documented endpoints are at
    `/agents/<name>/…`, and at the root for an agent that need not be named."""

    name: ClassVar[str] = "KVPlane"
    renderer_classes = [JSONRenderer, StartRenderer]

    @extend_schema(
        operation_id="get_index",
        responses={
            200: OpenApiResponse(
                referred(LINKS),
                "Where everything is.",
                [OpenApiExample("Links", value={"agents": "http://127.0.0.1:8000/api/v1/agents"})],
            )
        },
    )
    def get(self, request: Request) -> Response:
        """URLs of the control plane's own resources, by name."""
        return Response({name: reverse(route, request=request) for name, route in _ROUTES.items()})
