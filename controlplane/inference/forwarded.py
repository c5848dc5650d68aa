"""What every documented endpoint has in common: read the call by the catalogue,
find the agent, forward, and hand the agent's answer on unchanged."""

from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.exceptions import ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from controlplane.accounts.actors import request_actor
from controlplane.accounts.models import UserRole
from controlplane.accounts.permissions import RolePermission
from controlplane.configuration.models import RevisionState
from controlplane.forwarding.answers import AgentAnswer
from controlplane.forwarding.client import send
from controlplane.inference.browsing import BrowsableCallRenderer, browsable_data
from controlplane.inference.schema import OPERATION_HEADER, REVISION_HEADER, EndpointSchema
from controlplane.inference.targets import TARGET_PARAMETERS, choose_agent
from controlplane.inference.wishes import WISH_PARAMETERS, wishes_of
from controlplane.middleware import request_id_of
from controlplane.operations.effects import BegunRevision
from controlplane.operations.following import follow_call
from controlplane.operations.services import Performed, perform
from controlplane.rest.negotiation import PageIfNamed
from controlplane.rest.parsers import has_nul
from controlplane.rest.reason import REASON_PARAMETER, reason_of
from engine import contract
from engine.contract import Endpoint

_NOT_PASSED_ON = TARGET_PARAMETERS | WISH_PARAMETERS | {REASON_PARAMETER}

Action = Callable[..., HttpResponseBase]


def forwarded(operation_id: str) -> Action:
    """A viewset's action that forwards that endpoint of the catalogue."""
    endpoint = contract.endpoint(operation_id)

    def action(
        self: "ForwardedViewSet", request: Request, agent_name: str = ""
    ) -> HttpResponseBase:
        return self.forward(request, endpoint, agent_name)

    action.__name__ = operation_id
    action.__doc__ = endpoint.description
    return action


class ForwardedViewSet(ViewSet):
    """Base of the viewsets, one a group. A view made from it serves one path;
    `endpoints` says what each HTTP method on that path means."""

    endpoints: ClassVar[dict[str, Endpoint]] = {}

    renderer_classes = [JSONRenderer, BrowsableCallRenderer]
    content_negotiation_class = PageIfNamed
    permission_classes = [RolePermission]
    schema = EndpointSchema()

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """DRF's request. The body is read first and kept: the CSRF check of a
        logged-in browser looks for form fields and would use it up."""
        request.body  # noqa: B018 - reading it is what keeps it
        return super().initialize_request(request, *args, **kwargs)

    def required_role(self, request: Request) -> UserRole:
        """Viewers read, operators change."""
        endpoint = self.endpoints.get(str(request.method).lower())
        if endpoint is None or endpoint.action is None:
            return UserRole.VIEWER
        if endpoint.reads_without is None and endpoint.reads_with is None:
            return UserRole.OPERATOR
        values = contract.read_parameters(endpoint, _query(request))
        return UserRole.OPERATOR if endpoint.changes(values) else UserRole.VIEWER

    def forward(self, request: Request, endpoint: Endpoint, agent_name: str) -> HttpResponseBase:
        query = _query(request)
        values = contract.read_parameters(endpoint, query)
        body = _read_body(request, endpoint)
        agent = choose_agent(request, agent_name, endpoint.component)
        follow_call(agent, endpoint, values)
        passed_on = urlencode(
            {name: given for name, given in query.items() if name not in _NOT_PASSED_ON},
            doseq=True,
        )
        if not endpoint.changes(values):
            answer = send(
                agent,
                endpoint,
                query=passed_on,
                body=body,
                request_id=request_id_of(request),
                timeout=settings.KVPLANE_AGENT_TIMEOUT,
            )
            return _hand_on(request, answer, {})
        performed = perform(
            endpoint,
            [agent],
            query=passed_on,
            body=body,
            actor=request_actor(request),
            reason=reason_of(request),
            request_id=request_id_of(request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
            wishes=wishes_of(request, endpoint),
        )
        return _hand_on(request, performed.answer(), _headers_of(performed))


def _headers_of(performed: Performed) -> dict[str, str]:
    headers = {OPERATION_HEADER: str(performed.operation.pk)}
    for begun in performed.begun:
        if isinstance(begun, BegunRevision):
            number = str(begun.revision.number)
            headers[REVISION_HEADER] = number
            if begun.revision.state == RevisionState.ACTIVE:
                headers["ETag"] = f'"{number}"'
    return headers


def _query(request: Request) -> contract.Query:
    return contract.parse_query(request.META.get("QUERY_STRING", "").encode("latin-1"))


def _read_body(request: Request, endpoint: Endpoint) -> bytes | None:
    """The raw body of an endpoint that takes one, checked, to be sent on as it
    came: parsing and writing it again could change what the agent reads."""
    if endpoint.body_schema is None:
        return None
    media_type = str(request.content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise contract.UnsupportedMediaType(media_type)
    raw: bytes = request.body
    if has_nul(contract.parse_json_object(raw)):
        raise ParseError("A string has a NUL character (\\u0000); leave it out.")
    return raw


def _hand_on(request: Request, answer: AgentAnswer, headers: dict[str, str]) -> HttpResponseBase:
    if isinstance(request.accepted_renderer, BrowsableCallRenderer):
        return Response(browsable_data(answer), status=answer.status, headers=headers)
    return HttpResponse(
        answer.body, status=answer.status, content_type=answer.media_type, headers=headers
    )
