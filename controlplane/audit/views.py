"""Reading and verifying the audit log over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.http import StreamingHttpResponse
from django.urls import reverse
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
from controlplane.rest.links import Link, LinkGroup
from controlplane.rest.negotiation import PageIfNamed

_FORMATS = {
    "csv": (csv_lines, "text/csv; charset=utf-8"),
    "jsonl": (json_lines, "application/jsonl"),
}


class AuditViewSet(ViewersReadAdminsChange, ReadOnlyModelViewSet[AuditEntry]):
    """Who asked for what, when, why, and what came of it. An entry is written before a change
    (stage `requested`) and after it (stage `completed`), and can be neither changed nor
    deleted."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = AuditFilter
    pagination_class = AuditPagination
    ordering_fields = ["id", "created_at"]
    ordering = ["-id"]
    columns: ClassVar = [
        "id",
        "created_at",
        "action",
        "stage",
        "outcome",
        "actor_name",
        "agent",
        "reason",
    ]

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What can be done with the entries of the list."""
        if "results" not in document:
            return []
        chosen = self.request.query_params.dict()
        export = reverse("audit-export")
        links = (
            Link("Verification", reverse("audit-verification"), "is the log what was written?"),
            Link(
                "Export as JSON Lines",
                f"{export}?{urlencode({**chosen, 'format': 'jsonl'})}",
                "what passes the filters of this page",
            ),
            Link("Export as CSV", f"{export}?{urlencode({**chosen, 'format': 'csv'})}", "the same"),
        )
        return [LinkGroup("What else there is", links)]


class ExportView(ViewersReadAdminsChange, GenericAPIView[AuditEntry]):
    """Entries as a file."""

    name: ClassVar[str] = "Export the audit log"

    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    filterset_class = AuditFilter
    filter_backends = [DjangoFilterBackend]
    pagination_class = None
    content_negotiation_class = PageIfNamed

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
    """Whether the audit log is what was written: nothing changed, nothing removed."""

    name: ClassVar[str] = "Verification of the audit log"

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
