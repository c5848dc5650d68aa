"""Configuration revisions over HTTP."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.actors import request_actor
from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.configuration import serializers
from controlplane.configuration.filters import ConfigRevisionFilter
from controlplane.configuration.models import ConfigRevision
from controlplane.configuration.services import find_revision
from controlplane.configuration.values import difference
from controlplane.fleet.services import find_agent
from controlplane.middleware import request_id_of
from controlplane.operations.rolling_back import preview_rollback, roll_back
from controlplane.rest.answers import problem, usual
from controlplane.rest.links import Link, LinkGroup, listed
from engine.contract import parse_int

_NEVER_ACTIVE = problem(
    HTTPStatus.CONFLICT,
    "Revision was never active",
    "Revision 4 of agent 'smollm2-worker-0' is failed; choose one that was active.",
    "It was never active, or the agent has no active one.",
)
_REFUSED = problem(
    HTTPStatus.CONFLICT,
    "Nothing to restore",
    "Every key of agent 'smollm2-worker-0' that can be changed has the value of revision 4 "
    "already.",
    "Another revision is active, there is no difference, or it was never active.",
)


class ConfigRevisionViewSet(ViewersReadOperatorsChange, ReadOnlyModelViewSet[ConfigRevision]):
    """What each agent's configuration should be, was, and was refused to be. A revision is
    made by `POST /agents/<name>/conf`; from its page it can be compared with another one and
    rolled back to."""

    queryset = ConfigRevision.objects.all()
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = ConfigRevisionFilter
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]
    columns: ClassVar = [
        "id",
        "agent",
        "number",
        "state",
        "source",
        "diff",
        "actor_name",
        "reason",
        "created_at",
    ]

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What goes with the revisions of one agent."""
        agent = document.get("agent")
        if not agent:
            return []
        links = [Link(f"All revisions of {agent}", listed("configrevision-list", agent=agent))]
        if parent := document.get("parent"):
            links.append(
                Link(
                    f"Its parent, revision {parent}",
                    listed("configrevision-list", agent=agent, number=parent),
                )
            )
        links.append(Link("Change the configuration", f"/agents/{quote(agent)}/conf#update_conf"))
        return [LinkGroup("Configuration", tuple(links))]

    def get_serializer_class(self) -> type[BaseSerializer[ConfigRevision]]:
        """Values only where one revision is shown."""
        if self.action == "list":
            return serializers.ConfigRevisionSerializer
        return serializers.ConfigRevisionDetailSerializer

    @extend_schema(
        operation_id="diff_config_revision",
        parameters=[
            OpenApiParameter(
                "against", int, description="Number of the other revision; without it the parent."
            )
        ],
        responses={200: serializers.RevisionDiffSerializer},
    )
    @action(detail=True, methods=["get"])
    def diff(self, request: Request, pk: str) -> Response:
        """What changes from another revision of the same agent to this one."""
        after = self.get_object()
        # A form without a script sends what was left out as a blank.
        text = request.query_params.get("against", "").strip()
        if text:
            number = parse_int("against", text, minimum=1, maximum=(1 << 31) - 1)
        else:
            number = after.parent or 0
        before = find_revision(after.agent, number).values if number else {}
        return Response(
            {
                "agent": after.agent,
                "before": number,
                "after": after.number,
                "diff": difference(before, after.values),
            }
        )

    @extend_schema(
        operation_id="preview_rollback",
        responses={
            200: serializers.RollbackPreviewSerializer,
            **_NEVER_ACTIVE,
            **usual(502, 504),
        },
    )
    @action(detail=True, methods=["get"], url_path="rollback-preview")
    def rollback_preview(self, request: Request, pk: str) -> Response:
        """What rolling back to this revision would change."""
        revision = self.get_object()
        preview = preview_rollback(
            find_agent(revision.agent),
            revision.number,
            request_id=request_id_of(request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
        )
        return Response(
            {
                "agent": revision.agent,
                "active": preview.active.number,
                "target": preview.target.number,
                "changes": preview.changes,
                "left": preview.left,
                "problems": preview.problems,
            }
        )

    @extend_schema(
        operation_id="roll_back",
        request=serializers.RollbackSerializer,
        responses={
            200: serializers.ConfigRevisionDetailSerializer,
            **_REFUSED,
            **usual(502, 504),
        },
    )
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, pk: str) -> Response:
        """Make a new revision with the values of this one."""
        revision = self.get_object()
        wanted = serializers.RollbackSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        performed = roll_back(
            find_agent(revision.agent),
            revision.number,
            expected=wanted.validated_data["expected_revision"],
            actor=request_actor(request),
            reason=wanted.validated_data.get("reason", ""),
            request_id=request_id_of(request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
        )
        answer = performed.answer()
        headers = {"X-KVPlane-Operation": str(performed.operation.pk)}
        if answer.status != 200:
            return Response(answer.document, status=answer.status, headers=headers)
        made = ConfigRevision.objects.get(agent=revision.agent, operation_id=performed.operation.pk)
        return Response(serializers.ConfigRevisionDetailSerializer(made).data, headers=headers)
