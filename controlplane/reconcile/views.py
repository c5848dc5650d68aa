"""The control loop over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from controlplane.accounts.actors import request_actor
from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.fleet.validation import NAME_PATTERN
from controlplane.middleware import request_id_of
from controlplane.reconcile import serializers, services
from controlplane.reconcile.filters import WatchFilter
from controlplane.reconcile.models import Controller, Policy, Watch
from controlplane.rest.links import Link, LinkGroup, listed


class WatchViewSet(
    ViewersReadOperatorsChange,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Watch],
):
    """How each agent does, whether it is as it should be, and what is done about it when it
    is not: it drifts, and its policy says whether that is repaired, only reported, or
    adopted."""

    queryset = Watch.objects.select_related("agent__engine")
    lookup_field = "agent__name"
    lookup_url_kwarg = "agent"
    lookup_value_regex = NAME_PATTERN
    filterset_class = WatchFilter
    # Not by what can be null: a page begins after a value.
    ordering_fields = ["id"]
    ordering = ["id"]
    columns: ClassVar = [
        "agent",
        "engine",
        "health",
        "policy",
        "drift_since",
        "attempts",
        "gave_up_at",
        "last_error",
    ]

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What goes with the watch of one agent."""
        if "results" in document:
            return []
        agent = document["agent"]
        links = (
            Link("Modes as they should be", listed("desiredmode-list", agent=agent)),
            Link("Revisions", listed("configrevision-list", agent=agent)),
            Link("Audit entries", listed("auditentry-list", agent=agent)),
        )
        return [LinkGroup(f"Of {agent}", links)]

    def get_serializer_class(self) -> type[BaseSerializer[Watch]]:
        """By action: what is sent differs from what is shown."""
        if self.action == "partial_update":
            return serializers.WatchChangesSerializer
        return serializers.WatchSerializer

    @extend_schema(responses={200: serializers.WatchSerializer})
    def partial_update(self, request: Request, agent: str) -> Response:
        """Choose what is done when this agent drifts."""
        wanted = serializers.WatchChangesSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        policy = wanted.validated_data["policy"]
        watch = services.set_policy(
            self.get_object(),
            None if policy is None else Policy(policy),
            actor=request_actor(request),
            request_id=request_id_of(request),
        )
        return Response(serializers.WatchSerializer(watch).data)

    @extend_schema(
        operation_id="retry_repair",
        request=None,
        responses={200: serializers.WatchSerializer},
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, agent: str) -> Response:
        """Repair this agent again, though the loop waits or has given up."""
        watch = services.try_again(
            self.get_object(), actor=request_actor(request), request_id=request_id_of(request)
        )
        return Response(serializers.WatchSerializer(watch).data)


class ControllerViewSet(ViewersReadOperatorsChange, ReadOnlyModelViewSet[Controller]):
    """Control loops that run: each polls some of the agents and repairs those that drift."""

    queryset = Controller.objects.all()
    serializer_class = serializers.ControllerSerializer
    lookup_value_regex = "[0-9]{1,18}"
    ordering_fields = ["id", "name"]
    ordering = ["id"]
    columns: ClassVar = ["name", "agents", "started_at", "seen_at", "alive_until", "cycle_ms"]
