"""Reading modes and their history over HTTP. They are changed by the documented
calls, or by operations over several agents."""

from typing import ClassVar

from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.modes.filters import DesiredModeFilter, ModeChangeFilter
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.modes.serializers import DesiredModeSerializer, ModeChangeSerializer


class DesiredModeViewSet(ViewersReadOperatorsChange, ReadOnlyModelViewSet[DesiredMode]):
    """What the modes of each agent should be now: freeze, hot cache, and a bypass for each
    backend. The control loop puts an agent back that is otherwise. Change a mode with the
    calls of its agent, or on many agents with an operation."""

    queryset = DesiredMode.objects.select_related("change")
    serializer_class = DesiredModeSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = DesiredModeFilter
    ordering_fields = ["id", "since"]
    ordering = ["id"]
    columns: ClassVar = [
        "id",
        "agent",
        "mode",
        "backend",
        "value",
        "since",
        "expires_at",
        "actor_name",
        "reason",
    ]


class ModeChangeViewSet(ViewersReadOperatorsChange, ReadOnlyModelViewSet[ModeChange]):
    """Every change of freeze, hot cache and bypasses: who made it, why, and what came of it."""

    queryset = ModeChange.objects.all()
    serializer_class = ModeChangeSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = ModeChangeFilter
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]
    columns: ClassVar = [
        "id",
        "agent",
        "mode",
        "backend",
        "from_value",
        "to_value",
        "state",
        "source",
        "actor_name",
        "reason",
        "created_at",
    ]
