"""Reading operations over HTTP."""

from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.operations.filters import OperationFilter
from controlplane.operations.models import Operation
from controlplane.operations.serializers import OperationSerializer


class OperationViewSet(ViewersReadOperatorsChange, ReadOnlyModelViewSet[Operation]):
    """Changes that were asked for, with the outcome for every agent."""

    queryset = Operation.objects.prefetch_related("targets")
    serializer_class = OperationSerializer
    lookup_value_regex = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    filterset_class = OperationFilter
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]
