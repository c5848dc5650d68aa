"""Audit entries as JSON."""

from rest_framework import serializers

from controlplane.audit.models import AuditEntry


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """One entry, as it was written."""

    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "created_at",
            "stage",
            "action",
            "operation_id",
            "request_id",
            "actor_kind",
            "actor_name",
            "actor_ref",
            "source_address",
            "agent",
            "reason",
            "request",
            "answer",
            "outcome",
            "status",
            "duration_ms",
        ]
        read_only_fields = fields
