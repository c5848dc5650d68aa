"""Audit entries as JSON."""

from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.reverse import reverse

from controlplane.audit import examples
from controlplane.audit.actors import ActorKind
from controlplane.audit.models import AuditEntry, Stage
from controlplane.audit.reports import Kind
from controlplane.rest.components import DIFF, LINKS
from controlplane.rest.examples import shown
from engine.contract import schemas
from engine.contract.components import referred

_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}
_OBJECT_OR_NULL: dict[str, Any] = {"type": ["object", "null"], "additionalProperties": True}
KIND_CHOICES = [(kind.value, kind.value) for kind in Kind]
_FOUND_BY = {"request": "request_id", "operation": "operation", "agent": "agent"}


@extend_schema_field(_OBJECT)
class _ObjectField(serializers.JSONField):
    pass


@extend_schema_field(_OBJECT_OR_NULL)
class _ObjectOrNullField(serializers.JSONField):
    pass


@extend_schema_field(referred(schemas.nullable(DIFF)))
class _DiffOrNullField(serializers.JSONField):
    pass


@shown(examples.ENTRY)
class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """One entry, as it was written, with its place in the chain."""

    stage = serializers.ChoiceField(choices=Stage.choices, read_only=True)
    actor_kind = serializers.ChoiceField(choices=ActorKind.choices, read_only=True)
    operation_id = serializers.UUIDField(read_only=True, allow_null=True)
    on_behalf_of = serializers.CharField(read_only=True)
    source_address = serializers.CharField(read_only=True)
    user_agent = serializers.CharField(read_only=True)
    request = _ObjectField(read_only=True)
    answer = serializers.JSONField(read_only=True, allow_null=True)
    before = _ObjectOrNullField(read_only=True)
    after = _ObjectOrNullField(read_only=True)
    diff = _DiffOrNullField(read_only=True)
    duration_ms = serializers.FloatField(read_only=True, allow_null=True)
    links = serializers.SerializerMethodField(
        help_text="Everything in the same request, in the same operation, about the same agent."
    )

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
            "on_behalf_of",
            "source_address",
            "user_agent",
            "target",
            "agent",
            "engine",
            "reason",
            "request",
            "answer",
            "before",
            "after",
            "diff",
            "outcome",
            "status",
            "duration_ms",
            "key_id",
            "previous",
            "mac",
            "links",
        ]
        read_only_fields = fields

    @extend_schema_field(referred(LINKS))
    def get_links(self, entry: AuditEntry) -> dict[str, str]:
        """URLs of what goes with the entry, by name."""
        base = reverse("auditentry-list", request=self.context.get("request"))
        values = {
            "request": entry.request_id,
            "operation": "" if entry.operation_id is None else str(entry.operation_id),
            "agent": entry.agent,
        }
        return {
            name: f"{base}?{urlencode({_FOUND_BY[name]: value})}"
            for name, value in values.items()
            if value
        }


class ProblemSerializer(serializers.Serializer[Any]):
    """The first thing that is wrong."""

    kind = serializers.ChoiceField(choices=KIND_CHOICES)
    entry = serializers.IntegerField(allow_null=True, help_text="The number of the entry.")
    message = serializers.CharField()


@shown(examples.VERIFICATION)
class VerificationSerializer(serializers.Serializer[Any]):
    """What verifying found."""

    ok = serializers.BooleanField(help_text="Whether nothing is wrong.")
    entries = serializers.IntegerField(help_text="How many were looked at.")
    first = serializers.IntegerField(help_text="Where the unbroken chain begins.")
    last = serializers.IntegerField(help_text="Where it ends.")
    archived_up_to = serializers.IntegerField()
    kept = serializers.IntegerField(help_text="How many entries of the archived are kept.")
    heads = serializers.IntegerField(help_text="How many signed heads were compared.")
    signed_up_to = serializers.IntegerField(help_text="The newest entry with a signed head.")
    problem = ProblemSerializer(allow_null=True)


@shown(examples.LATEST_VERIFICATION)
class LatestVerificationSerializer(serializers.Serializer[Any]):
    """What was found when somebody looked last; nulls if nobody did yet."""

    checked_at = serializers.DateTimeField(allow_null=True)
    checked_by = serializers.CharField(allow_null=True)
    result = VerificationSerializer(allow_null=True)
