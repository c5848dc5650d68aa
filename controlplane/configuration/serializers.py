"""Configuration revisions as JSON."""

from typing import Any

from rest_framework import serializers

from controlplane.audit.limits import MAX_REASON
from controlplane.configuration import examples
from controlplane.configuration.models import ConfigRevision
from controlplane.rest.examples import sent, shown
from controlplane.rest.fields import DiffField


@shown(examples.REVISION)
class ConfigRevisionSerializer(serializers.ModelSerializer[ConfigRevision]):
    """A revision and what it changed."""

    requested = serializers.DictField(read_only=True)
    diff = DiffField(read_only=True)
    refused = serializers.DictField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = ConfigRevision
        fields = [
            "id",
            "agent",
            "number",
            "parent",
            "restored_from",
            "state",
            "source",
            "requested",
            "diff",
            "refused",
            "complete",
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


@shown(examples.REVISION_DETAIL)
class ConfigRevisionDetailSerializer(ConfigRevisionSerializer):
    """A revision with all of its values."""

    values = serializers.DictField(read_only=True)

    class Meta(ConfigRevisionSerializer.Meta):
        fields = [*ConfigRevisionSerializer.Meta.fields, "values"]
        read_only_fields = fields


@shown(examples.DIFF)
class RevisionDiffSerializer(serializers.Serializer[Any]):
    """What differs between two revisions."""

    agent = serializers.CharField()
    before = serializers.IntegerField()
    after = serializers.IntegerField()
    diff = DiffField()


@shown(examples.PREVIEW)
class RollbackPreviewSerializer(serializers.Serializer[Any]):
    """What a rollback would do."""

    agent = serializers.CharField()
    active = serializers.IntegerField()
    target = serializers.IntegerField()
    changes = DiffField(help_text="What would be sent.")
    left = DiffField(help_text="What a restart of the agent would take.")
    problems = serializers.DictField(
        child=serializers.CharField(), help_text="Values that the agent does not take any more."
    )


@sent("Unless somebody changed it meanwhile", examples.ROLLBACK)
class RollbackSerializer(serializers.Serializer[Any]):
    """What is needed for a rollback."""

    expected_revision = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=0,
        max_value=(1 << 31) - 1,
        help_text="The number of the active one; 409 if another is active by now.",
        style={"placeholder": "5"},
    )
    reason = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=MAX_REASON,
        help_text="Why; kept in the audit log with the change.",
        style={"placeholder": "the last change made it slower"},
    )
