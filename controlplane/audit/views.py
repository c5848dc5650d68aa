"""Reading and verifying the audit log over HTTP."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.actors import request_actor
from controlplane.accounts.permissions import ViewersReadAdminsChange
from controlplane.audit.filters import AuditFilter
from controlplane.audit.models import AuditEntry
from controlplane.audit.serializers import (
    AuditEntrySerializer,
    LatestVerificationSerializer,
    VerificationSerializer,
)
from controlplane.audit.verifying import latest_verification, verify_on_record
from controlplane.middleware import request_id_of


class AuditViewSet(ViewersReadAdminsChange, ReadOnlyModelViewSet[AuditEntry]):
    """Who asked for what, when, why, and what came of it."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = AuditFilter
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]


class VerificationView(ViewersReadAdminsChange, APIView):
    """Whether the log is what was written."""

    @extend_schema(operation_id="audit_verification", responses=LatestVerificationSerializer)
    def get(self, request: Request) -> Response:
        """What was found when somebody looked last."""
        latest = latest_verification()
        found = (
            {"checked_at": None, "checked_by": None, "result": None}
            if latest is None
            else {
                "checked_at": latest.created_at,
                "checked_by": latest.actor_name,
                "result": latest.answer,
            }
        )
        return Response(LatestVerificationSerializer(found).data)

    @extend_schema(operation_id="audit_verify", request=None, responses=VerificationSerializer)
    def post(self, request: Request) -> Response:
        """Look now: every entry, every signed head, the guards of the database. That
        takes seconds for a million entries; `manage.py verify_audit` does the same."""
        report = verify_on_record(actor=request_actor(request), request_id=request_id_of(request))
        return Response(VerificationSerializer(report.as_dict()).data)
