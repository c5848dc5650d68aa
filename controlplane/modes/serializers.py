"""Modes as JSON."""

from rest_framework import serializers

from controlplane.modes import examples
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.rest.examples import shown


@shown(examples.DESIRED_MODE)
class DesiredModeSerializer(serializers.ModelSerializer[DesiredMode]):
    """What a mode of an agent should be, and since when."""

    actor_name = serializers.CharField(source="change.actor_name", read_only=True)
    reason = serializers.CharField(source="change.reason", read_only=True)
    operation_id = serializers.UUIDField(
        source="change.operation_id", read_only=True, allow_null=True
    )

    class Meta:
        model = DesiredMode
        fields = [
            "id",
            "agent",
            "mode",
            "backend",
            "value",
            "since",
            "expires_at",
            "revert_to",
            "revert_attempts",
            "next_revert_at",
            "revert_gave_up_at",
            "revert_error",
            "actor_name",
            "reason",
            "operation_id",
        ]
        read_only_fields = fields


@shown(examples.MODE_CHANGE)
class ModeChangeSerializer(serializers.ModelSerializer[ModeChange]):
    """One change of one mode."""

    class Meta:
        model = ModeChange
        fields = [
            "id",
            "agent",
            "mode",
            "backend",
            "from_value",
            "to_value",
            "state",
            "source",
            "expires_at",
            "revert_to",
            "from_expires_at",
            "from_revert_to",
            "operation_id",
            "request_id",
            "actor_kind",
            "actor_name",
            "actor_ref",
            "reason",
            "created_at",
            "settled_at",
        ]
        read_only_fields = fields
