"""Reading and verifying the audit log over HTTP."""

from django.http import StreamingHttpResponse
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.actors import request_actor
from controlplane.accounts.permissions import ViewersReadAdminsChange
from controlplane.audit.export import csv_lines, json_lines
from controlplane.audit.filters import AuditFilter
from controlplane.audit.models import AuditEntry
from controlplane.audit.paging import AuditPagination
from controlplane.audit.serializers import (
    AuditEntrySerializer,
    LatestVerificationSerializer,
    VerificationSerializer,
)
from controlplane.audit.verifying import latest_verification, verify_on_record
from controlplane.middleware import request_id_of
from controlplane.rest.negotiation import WhateverIsAccepted

_FORMATS = {
    "csv": (csv_lines, "text/csv; charset=utf-8"),
    "jsonl": (json_lines, "application/jsonl"),
}


class AuditViewSet(ViewersReadAdminsChange, ReadOnlyModelViewSet[AuditEntry]):
    """Who asked for what, when, why, and what came of it."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = AuditFilter
    pagination_class = AuditPagination
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]


class ExportView(ViewersReadAdminsChange, GenericAPIView[AuditEntry]):
    """Entries as a file."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    filterset_class = AuditFilter
    filter_backends = [DjangoFilterBackend]
    pagination_class = None
    content_negotiation_class = WhateverIsAccepted

    @extend_schema(
        operation_id="export_audit_entries",
        filters=True,
        parameters=[
            OpenApiParameter(
                "format",
                str,
                enum=sorted(_FORMATS),
                default="jsonl",
                description="JSON Lines as in archives, or CSV.",
            )
        ],
        responses={(200, "application/jsonl"): str, (200, "text/csv"): str},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """All entries that match, oldest first, as a stream of any length."""
        name = request.query_params.get("format", "jsonl")
        if name not in _FORMATS:
            raise ValidationError({"format": [f"Ask for one of {', '.join(sorted(_FORMATS))}."]})
        lines, media_type = _FORMATS[name]
        entries = self.filter_queryset(self.get_queryset())
        return StreamingHttpResponse(
            lines(entries),
            content_type=media_type,
            headers={"Content-Disposition": f'attachment; filename="audit.{name}"'},
        )


class VerificationView(ViewersReadAdminsChange, APIView):
    """Whether the log is what was written."""

    @extend_schema(operation_id="get_audit_verification", responses=LatestVerificationSerializer)
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

    @extend_schema(operation_id="verify_audit", request=None, responses=VerificationSerializer)
    def post(self, request: Request) -> Response:
        """Look now: every entry, every signed head, the guards of the database. That
        takes seconds for a million entries; `manage.py verify_audit` does the same."""
        report = verify_on_record(actor=request_actor(request), request_id=request_id_of(request))
        return Response(VerificationSerializer(report.as_dict()).data)
