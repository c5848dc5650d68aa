"""The control loop over HTTP."""

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


class WatchViewSet(
    ViewersReadOperatorsChange,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Watch],
):
    """How each agent does, whether it is as it should be, and what is done about it."""

    queryset = Watch.objects.select_related("agent__engine")
    lookup_field = "agent__name"
    lookup_url_kwarg = "agent"
    lookup_value_regex = NAME_PATTERN
    filterset_class = WatchFilter
    # Not by what can be null: a page begins after a value.
    ordering_fields = ["id"]
    ordering = ["id"]

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
    """Control loops that run."""

    queryset = Controller.objects.all()
    serializer_class = serializers.ControllerSerializer
    lookup_value_regex = "[0-9]{1,18}"
    ordering_fields = ["id", "name"]
    ordering = ["id"]
