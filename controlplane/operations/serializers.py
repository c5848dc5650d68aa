"""Operations as JSON."""

from rest_framework import serializers

from controlplane.operations.models import Operation, OperationTarget


class OperationTargetSerializer(serializers.ModelSerializer[OperationTarget]):
    """What came of an operation on one agent."""

    class Meta:
        model = OperationTarget
        fields = ["agent", "state", "status", "answer", "error", "duration_ms"]
        read_only_fields = fields


class OperationSerializer(serializers.ModelSerializer[Operation]):
    """A requested change and its outcomes."""

    targets = OperationTargetSerializer(many=True, read_only=True)

    class Meta:
        model = Operation
        fields = [
            "id",
            "action",
            "endpoint",
            "query",
            "body",
            "state",
            "reason",
            "request_id",
            "actor_kind",
            "actor_name",
            "actor_ref",
            "source_address",
            "created_at",
            "finished_at",
            "targets",
        ]
        read_only_fields = fields
