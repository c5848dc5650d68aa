"""Reading modes and their history over HTTP. They are changed by the documented
calls, or by operations over several agents."""

from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.modes.filters import DesiredModeFilter, ModeChangeFilter
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.modes.serializers import DesiredModeSerializer, ModeChangeSerializer


class DesiredModeViewSet(ViewersReadOperatorsChange, ReadOnlyModelViewSet[DesiredMode]):
    """What the modes of each agent should be now."""

    queryset = DesiredMode.objects.select_related("change")
    serializer_class = DesiredModeSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = DesiredModeFilter
    ordering_fields = ["id", "since"]
    ordering = ["id"]


class ModeChangeViewSet(ViewersReadOperatorsChange, ReadOnlyModelViewSet[ModeChange]):
    """Every change of freeze, hot cache and bypasses."""

    queryset = ModeChange.objects.all()
    serializer_class = ModeChangeSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = ModeChangeFilter
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]
