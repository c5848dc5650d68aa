"""Operations over HTTP."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse as path_of
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
from controlplane.operations import examples
from controlplane.operations.cancelling import cancel
from controlplane.operations.errors import OperationNotFound
from controlplane.operations.filters import OperationFilter, OperationTargetFilter
from controlplane.operations.form_examples import operation_examples
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.planning import plan_operation, plan_retry
from controlplane.operations.serializers import (
    NewOperationSerializer,
    OperationSerializer,
    OperationSummarySerializer,
    OperationTargetSerializer,
)
from controlplane.operations.waiting import start_and_wait
from controlplane.rest.answers import problem
from controlplane.rest.examples import OPERATION_ID
from controlplane.rest.forms import Example
from controlplane.rest.links import Link, LinkGroup, agent_page, listed, page_of
from controlplane.rest.reason import REASON_PARAMETERS, reason_of
from engine.contract import ContractError

ID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MAX_WAIT_S = 60.0
_LINKED_AGENTS = 50
_KEY = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_KEY_HEADER = "Idempotency-Key"
_WAIT = OpenApiParameter(
    "wait",
    float,
    description="Seconds to wait for the end, at most 60; 200 if it came. Not when half of the "
    "server's threads wait already.",
)
_KEY_REUSED = problem(
    HTTPStatus.CONFLICT,
    "Idempotency key reused",
    "The Idempotency-Key 'deploy-1400' was sent before with another request, operation "
    f"{OPERATION_ID}; send a new key.",
    "The key was sent before, with another request.",
    operation=OPERATION_ID,
)
_FINISHED_ALREADY = problem(
    HTTPStatus.CONFLICT,
    "Already finished",
    f"Operation {OPERATION_ID} is succeeded; there is nothing to cancel.",
    "It is finished.",
)
_NOTHING_TO_RETRY = problem(
    HTTPStatus.CONFLICT,
    "Nothing to retry",
    f"Operation {OPERATION_ID} is succeeded; only agents that failed in a finished operation are "
    "called again.",
    "It is not finished, nobody failed, or a retry is under way.",
)
_FINISHED = OpenApiResponse(OperationSerializer, "Finished.")
_STARTED = OpenApiResponse(
    OperationSerializer,
    "Under way; `Location` says where to look.",
    [
        OpenApiExample(
            "Under way", value={**examples.OPERATION, "state": "running", "finished_at": None}
        )
    ],
)
_LOCATION = OpenApiParameter(
    "Location",
    str,
    OpenApiParameter.HEADER,
    description="Where the operation is to be read.",
    response=[200, 202],
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

    queryset = Operation.objects.all()
    serializer_class = OperationSerializer
    lookup_value_regex = ID_PATTERN
    filterset_class = OperationFilter
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]
    columns: ClassVar = [
        *("id", "action", "state", "target_counts"),
        *("actor_name", "reason", "created_at"),
    ]

    def form_examples(self, method: str) -> list[Example]:
        """What the form that makes an operation can begin with."""
        return list(operation_examples()) if self.action == "create" else []

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What one operation made, and on whom."""
        if "targets" not in document:
            return []
        own = str(document["id"])
        made = (
            Link("All of its targets", _targets_page(own), "the outcome for each agent"),
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
        """By action: what is sent differs from what is shown, and of many less is shown."""
        if self.action == "list":
            return OperationSummarySerializer
        return NewOperationSerializer if self.action == "create" else OperationSerializer

    @extend_schema(
        operation_id="start_operation",
        parameters=[
            _WAIT,
            _LOCATION,
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
            **_KEY_REUSED,
        },
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
        parameters=[*REASON_PARAMETERS],
        responses={
            200: OpenApiResponse(OperationSerializer, "No further agent is called."),
            **_FINISHED_ALREADY,
        },
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Call no further agents. Those that were called are waited for."""
        operation = cancel(
            self.get_object(),
            actor=request_actor(request),
            request_id=request_id_of(request),
            reason=reason_of(request),
        )
        return Response(_shown(request, operation))

    @extend_schema(
        request=None,
        parameters=[_WAIT, _LOCATION, *REASON_PARAMETERS],
        responses={
            200: _FINISHED,
            202: _STARTED,
            **_NOTHING_TO_RETRY,
        },
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Make the same change on the agents on which it failed, as a new operation."""
        seconds = _wait_of(request)
        retry = plan_retry(
            self.get_object(),
            actor=request_actor(request),
            request_id=request_id_of(request),
            reason=reason_of(request),
        )
        return _start(request, retry, seconds)


class OperationTargetViewSet(
    ViewersReadOperatorsChange, mixins.ListModelMixin, GenericViewSet[OperationTarget]
):
    """The outcome of one operation for each of its agents, in the order of the plan."""

    queryset = OperationTarget.objects.all()
    serializer_class = OperationTargetSerializer
    filterset_class = OperationTargetFilter
    ordering_fields = ["id"]
    ordering = ["id"]
    columns: ClassVar = ["agent", "wave", "state", "status", "duration_ms", "undone"]

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What they are the targets of."""
        own = self.kwargs["operation"]
        return [LinkGroup("See also", (Link("The operation", page_of("operation-list", own)),))]

    def get_queryset(self) -> QuerySet[OperationTarget]:
        """Those of the operation that the path names."""
        return super().get_queryset().filter(operation=self.kwargs["operation"])

    @extend_schema(
        operation_id="list_targets",
        summary="List the targets of an operation",
        parameters=[OpenApiParameter("operation", UUID, OpenApiParameter.PATH)],
    )
    def list(self, request: Request, operation: str) -> Response:
        """How an operation went, agent by agent."""
        if not Operation.objects.filter(pk=operation).exists():
            raise OperationNotFound(operation)
        return super().list(request)


def _targets_page(operation_id: str) -> str:
    return path_of("operation-target-list", args=[operation_id])


def _shown(request: Request, operation: Operation) -> dict[str, object]:
    shown: dict[str, object] = OperationSerializer(operation, context={"request": request}).data
    return shown


def _start(request: Request, operation: Operation, seconds: float) -> Response:
    operation = start_and_wait(operation, seconds)
    return Response(
        _shown(request, operation),
        status=200 if State(operation.state).is_final else 202,
        headers={"Location": _url(request, operation.pk)},
    )


def _url(request: Request, operation_id: UUID) -> str:
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
