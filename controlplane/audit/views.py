"""Reading the audit log over HTTP."""

from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.permissions import ViewersReadAdminsChange
from controlplane.audit.filters import AuditFilter
from controlplane.audit.models import AuditEntry
from controlplane.audit.serializers import AuditEntrySerializer


class AuditViewSet(ViewersReadAdminsChange, ReadOnlyModelViewSet[AuditEntry]):
    """Who asked for what, when, why, and what came of it."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = AuditFilter
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]
