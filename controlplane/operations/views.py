"""Operations over HTTP."""

import re
import uuid
from collections.abc import Mapping
from threading import BoundedSemaphore
from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from controlplane.accounts.actors import request_actor
from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.middleware import request_id_of
from controlplane.operations.cancelling import cancel
from controlplane.operations.examples import operation_examples
from controlplane.operations.filters import OperationFilter
from controlplane.operations.models import Operation, State
from controlplane.operations.planning import plan_operation, plan_retry
from controlplane.operations.runner import shared_runner
from controlplane.operations.serializers import NewOperationSerializer, OperationSerializer
from controlplane.rest.forms import Example
from controlplane.rest.links import Link, LinkGroup, agent_page, listed
from engine.contract import ContractError

_MAX_WAIT_S = 60.0
_LINKED_AGENTS = 50
_KEY = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
# A request that waits holds a thread that others need.
_waiting = BoundedSemaphore(max(1, settings.KVPLANE_HTTP_THREADS // 2))
_KEY_HEADER = "Idempotency-Key"
_WAIT = OpenApiParameter(
    "wait",
    float,
    description="Seconds to wait for the end, at most 60; 200 if it came. Not when half of the "
    "server's threads wait already.",
)
_ERROR = {"$ref": "#/components/schemas/Error"}
_FINISHED = OpenApiResponse(OperationSerializer, "Finished.")
_STARTED = OpenApiResponse(OperationSerializer, "Under way; `Location` says where to look.")
_FREEZE = OpenApiExample(
    "Freeze the workers of an engine for 20 minutes, one first",
    value={
        "action": "freeze.enable",
        "selector": {"engines": ["smollm2"]},
        "strategy": {"canary": 1, "wave_size": 8, "pause_s": 5, "on_failure": "rollback"},
        "expires_in_s": 1200,
        "reason": "deploy",
    },
    request_only=True,
)


class OperationViewSet(
    ViewersReadOperatorsChange,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Operation],
):
    """Changes that were asked for, with the outcome for every agent. To make one on many
    agents, say the action and, with a selector, which agents; a strategy says in which order.
    A single agent is changed as well by the calls of its page."""

    queryset = Operation.objects.prefetch_related("targets")
    serializer_class = OperationSerializer
    lookup_value_regex = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    filterset_class = OperationFilter
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]
    columns: ClassVar = ["id", "action", "state", "actor_name", "reason", "created_at"]

    def form_examples(self, method: str) -> list[Example]:
        """What the form that makes an operation can begin with."""
        return list(operation_examples()) if self.action == "create" else []

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What one operation made, and on whom."""
        if "targets" not in document:
            return []
        own = str(document["id"])
        made = (
            Link("Audit entries of the operation", listed("auditentry-list", operation=own)),
            Link("Revisions that it made", listed("configrevision-list", operation=own)),
            Link("Mode changes that it made", listed("modechange-list", operation=own)),
        )
        agents = tuple(
            Link(target["agent"], agent_page(target["agent"]), target["state"])
            for target in document["targets"][:_LINKED_AGENTS]
        )
        return [LinkGroup("What came of it", made), LinkGroup("Agents", agents)]

    def get_serializer_class(self) -> type[BaseSerializer[Operation]]:
        """By action: what is sent differs from what is shown."""
        return NewOperationSerializer if self.action == "create" else OperationSerializer

    @extend_schema(
        parameters=[
            _WAIT,
            OpenApiParameter(
                _KEY_HEADER,
                str,
                OpenApiParameter.HEADER,
                description="The same key again is the same operation, not another one.",
            ),
        ],
        responses={
            200: _FINISHED,
            202: _STARTED,
            409: OpenApiResponse(_ERROR, "The key was sent before, with another request."),
        },
        examples=[_FREEZE],
    )
    def create(self, request: Request) -> Response:
        """Make one change on many agents."""
        seconds = _wait_of(request)
        asked = NewOperationSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        planned = plan_operation(
            asked.to_plan(),
            key=_key_of(request),
            actor=request_actor(request),
            request_id=request_id_of(request),
        )
        return _start(request, planned.operation, seconds)

    @extend_schema(
        request=None,
        responses={
            200: OpenApiResponse(OperationSerializer, "No further agent is called."),
            409: OpenApiResponse(_ERROR, "It is finished."),
        },
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Call no further agents. Those that were called are waited for."""
        operation = cancel(
            self.get_object(), actor=request_actor(request), request_id=request_id_of(request)
        )
        return Response(OperationSerializer(operation).data)

    @extend_schema(
        request=None,
        parameters=[_WAIT],
        responses={
            200: _FINISHED,
            202: _STARTED,
            409: OpenApiResponse(_ERROR, "It is not finished, or nobody failed."),
        },
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Make the same change on the agents on which it failed, as a new operation."""
        seconds = _wait_of(request)
        retry = plan_retry(
            self.get_object(), actor=request_actor(request), request_id=request_id_of(request)
        )
        return _start(request, retry, seconds)


def _start(request: Request, operation: Operation, seconds: float) -> Response:
    runner = shared_runner()
    runner.start(operation)
    if _waiting.acquire(blocking=False):
        try:
            operation = runner.wait_for(operation.pk, seconds)
        finally:
            _waiting.release()
    else:
        operation = runner.wait_for(operation.pk, 0)
    return Response(
        OperationSerializer(operation).data,
        status=200 if State(operation.state).is_final else 202,
        headers={"Location": _url(request, operation.pk)},
    )


def _url(request: Request, operation_id: uuid.UUID) -> str:
    return reverse("operation-detail", args=[str(operation_id)], request=request)


def _wait_of(request: Request) -> float:
    text = request.query_params.get("wait")
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_WAIT_S:
        raise ContractError(
            400, "Invalid parameter", f"'wait' must be seconds from 0 to {_MAX_WAIT_S:g}."
        )
    return seconds


def _key_of(request: Request) -> str:
    key = request.headers.get(_KEY_HEADER)
    if key is None:
        return ""
    if not _KEY.fullmatch(key):
        raise ContractError(
            400,
            "Invalid header",
            f"'{_KEY_HEADER}' must be 1 to 128 visible ASCII characters.",
        )
    return key
