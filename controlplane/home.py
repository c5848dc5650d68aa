"""Where a person begins who knows nothing but the address."""

from typing import ClassVar

from django.utils.decorators import method_decorator
from django.views.decorators.vary import vary_on_headers
from django.views.generic import RedirectView
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.resources import ROUTES
from controlplane.rest.components import LINKS
from engine.contract.components import referred

_PROGRAM, _BROWSER = "application/json", "text/html"

_ROUTES = {**ROUTES, "docs": "docs", "redoc": "redoc", "schema": "schema"}


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
