"""Operations as JSON."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db.models import Manager
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.reverse import reverse

from controlplane.accounts.serializers import in_the_future
from controlplane.audit.limits import MAX_REASON
from controlplane.fleet.models import ROLE_CHOICES
from controlplane.fleet.serializers import LabelsField
from controlplane.fleet.suggesting import agent_names, engine_names
from controlplane.operations import examples
from controlplane.operations.effects import Wishes
from controlplane.operations.models import Operation, OperationTarget
from controlplane.operations.planning import MAX_CONCURRENCY, Plan
from controlplane.operations.reading import Counts, count_targets
from controlplane.operations.selecting import Selector
from controlplane.operations.strategy import OnFailure, Strategy
from controlplane.rest.answers import AGENT_FAILURE
from controlplane.rest.examples import sent, shown
from controlplane.rest.fields import JSONObjectField
from controlplane.rest.strict import StrictSerializer
from engine.contract import CATALOGUE, Role, schemas
from engine.contract.components import referred

MAX_SHOWN_TARGETS = 100
ACTIONS = {entry.action: entry for entry in CATALOGUE if entry.action is not None}
ACTION_CHOICES = [(name, name) for name in sorted(ACTIONS)]
ON_FAILURE_CHOICES = [(choice.value, choice.value) for choice in OnFailure]


@extend_schema_field(referred(schemas.nullable(AGENT_FAILURE)))
class _FailureField(serializers.JSONField):
    pass


class OptionsSerializer(serializers.Serializer[Any]):
    """What a caller wished beyond the call."""

    expires_at = serializers.DateTimeField(required=False)
    expected_revision = serializers.IntegerField(required=False)


@shown(examples.TARGET)
class OperationTargetSerializer(serializers.ModelSerializer[OperationTarget]):
    """What came of an operation on one agent."""

    error = _FailureField(read_only=True, help_text="Why there is no answer; null if there is one.")

    class Meta:
        model = OperationTarget
        fields = [
            "agent",
            "wave",
            "state",
            "undone",
            "undo_error",
            "status",
            "answer",
            "error",
            "duration_ms",
        ]
        read_only_fields = fields


class SelectorSerializer(StrictSerializer):
    """Which agents: those that fit everything that is given."""

    agents = serializers.ListField(
        child=serializers.CharField(max_length=128),
        required=False,
        max_length=10_000,
        help_text="Names of agents.",
        style={"placeholder": "smollm2-worker-0", "suggestions": agent_names},
    )
    engines = serializers.ListField(
        child=serializers.CharField(max_length=128),
        required=False,
        max_length=1000,
        help_text="Names of engines.",
        style={"placeholder": "smollm2", "suggestions": engine_names},
    )
    roles = serializers.ListField(
        child=serializers.ChoiceField(choices=ROLE_CHOICES),
        required=False,
        max_length=2,
        help_text="Left out: the roles that have what the action needs.",
    )
    labels = LabelsField(
        required=False,
        help_text="Labels that an agent, or else its engine, has.",
        style={"placeholder": '{"zone": "a"}'},
    )
    everybody = serializers.BooleanField(
        required=False, help_text="true: every agent of a role that has what the action needs."
    )

    def to_selector(self, data: dict[str, Any]) -> Selector:
        """The validated data as the service takes it."""
        return Selector(
            agents=tuple(data.get("agents", ())),
            engines=tuple(data.get("engines", ())),
            roles=tuple(Role(role) for role in data.get("roles", ())),
            labels=data.get("labels", {}),
            everybody=data.get("everybody", False),
        )


class StrategySerializer(StrictSerializer):
    """In which order, and what failures are borne."""

    canary = serializers.IntegerField(
        min_value=0, max_value=1000, default=0, help_text="Agents in a first wave of their own."
    )
    wave_size = serializers.IntegerField(
        min_value=0, max_value=10_000, default=0, help_text="Agents in each later wave; 0: all."
    )
    pause_s = serializers.FloatField(
        min_value=0, max_value=86_400, default=0.0, help_text="Seconds between two waves."
    )
    max_failures = serializers.IntegerField(
        min_value=0,
        max_value=10_000,
        default=0,
        allow_null=True,
        help_text="More of them end the operation after their wave; null: any number is borne.",
    )
    on_failure = serializers.ChoiceField(
        choices=ON_FAILURE_CHOICES,
        default="stop",
        help_text="When more fail than are borne: call nobody else, go on all the same, or take "
        "back what was changed.",
    )


@extend_schema_field(SelectorSerializer)
class _SelectorField(serializers.JSONField):
    pass


@extend_schema_field(StrategySerializer)
class _StrategyField(serializers.JSONField):
    pass


@extend_schema_field(OptionsSerializer)
class _OptionsField(serializers.JSONField):
    pass


class _OperationList(serializers.ListSerializer[Any]):
    """Several operations, whose targets are counted with one question."""

    def to_representation(self, data: Manager[Any] | Iterable[Any]) -> list[dict[str, Any]]:
        """As ListSerializer.to_representation()."""
        operations = list(data.all() if isinstance(data, Manager) else data)
        one = cast(OperationSummarySerializer, self.child)
        one.counts = count_targets(operation.pk for operation in operations)
        return super().to_representation(operations)


@shown(examples.OPERATION_SUMMARY)
class OperationSummarySerializer(serializers.ModelSerializer[Operation]):
    """A requested change and how far it has come."""

    body = JSONObjectField(read_only=True, help_text="The JSON body of the call, if it has one.")
    selector = _SelectorField(read_only=True, help_text="Who was to be called; {} for one agent.")
    strategy = _StrategyField(read_only=True, help_text="{}: all at once.")
    options = _OptionsField(read_only=True, help_text="What else the caller wished.")
    target_counts = serializers.SerializerMethodField(
        help_text="How many targets are in each state; states that none is in are left out."
    )
    targets_url = serializers.SerializerMethodField(
        help_text="Where all targets are listed, in pages."
    )

    counts: Mapping[UUID, Counts] = MappingProxyType({})
    """Of the operations that are being shown."""

    class Meta:
        model = Operation
        list_serializer_class = _OperationList
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
            "user_agent",
            "on_behalf_of",
            "created_at",
            "finished_at",
            "selector",
            "strategy",
            "options",
            "concurrency",
            "timeout_s",
            "retry_of",
            "undo_of",
            "idempotency_key",
            "cancel_requested_at",
            "paused_until",
            "rollback_began_at",
            "target_counts",
            "targets_url",
        ]
        read_only_fields = fields

    @extend_schema_field(OpenApiTypes.URI)
    def get_targets_url(self, operation: Operation) -> str:
        """With the host that was asked, if anybody asked over HTTP."""
        request = self.context.get("request")
        return reverse("operation-target-list", args=[str(operation.pk)], request=request)

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_target_counts(self, operation: Operation) -> Counts:
        """By state."""
        if operation.pk not in self.counts:
            self.counts = count_targets([operation.pk])
        return self.counts[operation.pk]


@shown(examples.OPERATION)
class OperationSerializer(OperationSummarySerializer):
    """A requested change and its outcomes."""

    targets = serializers.SerializerMethodField(
        help_text=f"The first {MAX_SHOWN_TARGETS}, in the order of the plan; `targets_url` has all."
    )
    targets_left_out = serializers.SerializerMethodField(
        help_text="How many more targets there are at `targets_url`."
    )

    class Meta(OperationSummarySerializer.Meta):
        fields = [*OperationSummarySerializer.Meta.fields, "targets", "targets_left_out"]
        read_only_fields = fields

    @extend_schema_field(OperationTargetSerializer(many=True))
    def get_targets(self, operation: Operation) -> object:
        """Those that are shown."""
        shown = operation.targets.order_by("id")[:MAX_SHOWN_TARGETS]
        return OperationTargetSerializer(shown, many=True).data

    def get_targets_left_out(self, operation: Operation) -> int:
        """Those that are not."""
        return max(0, sum(self.get_target_counts(operation).values()) - MAX_SHOWN_TARGETS)


@sent("Freeze the workers of an engine for 20 minutes, one first", examples.NEW_OPERATION)
class NewOperationSerializer(StrictSerializer):
    """One action on many agents."""

    action = serializers.ChoiceField(
        choices=ACTION_CHOICES,
        help_text="What to change; the examples show what each takes.",
    )
    parameters = serializers.DictField(
        required=False,
        help_text="Parameters of the call, as in its query string.",
        style={"placeholder": '{"backend_name": "RemoteBackend"}'},
    )
    body = serializers.DictField(
        required=False,
        allow_null=True,
        help_text="Its JSON body.",
        style={"placeholder": '{"min_retrieve_tokens": 512}'},
    )
    selector = SelectorSerializer()
    strategy = StrategySerializer(required=False, help_text="Left out: all at once.")
    concurrency = serializers.IntegerField(
        min_value=1, max_value=MAX_CONCURRENCY, default=64, help_text="Calls at once."
    )
    timeout_s = serializers.FloatField(
        min_value=0.1, max_value=600, required=False, help_text="Seconds for each agent."
    )
    reason = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=MAX_REASON,
        default="",
        help_text="Why; kept in the audit log with the change.",
        style={"placeholder": "deploy"},
    )
    expires_in_s = serializers.FloatField(
        min_value=1,
        max_value=366 * 86_400,
        required=False,
        help_text="Seconds after which a mode is reverted.",
        style={"placeholder": "1200"},
    )
    expires_at = serializers.DateTimeField(
        required=False,
        validators=[in_the_future],
        help_text="The moment at which a mode is reverted.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raises ValidationError for two ends."""
        if "expires_at" in attrs and "expires_in_s" in attrs:
            raise serializers.ValidationError(
                {"expires_in_s": ["Give expires_in_s or expires_at, not both."]}
            )
        return attrs

    def to_plan(self) -> Plan:
        """The validated data as the service takes it."""
        data = self.validated_data
        expires_at = data.get("expires_at")
        if "expires_in_s" in data:
            expires_at = timezone.now() + timedelta(seconds=data["expires_in_s"])
        strategy = data.get("strategy")
        return Plan(
            endpoint=ACTIONS[data["action"]],
            selector=SelectorSerializer().to_selector(data["selector"]),
            parameters=data.get("parameters", {}),
            body=data.get("body"),
            strategy=Strategy()
            if strategy is None
            else Strategy(**{**strategy, "on_failure": OnFailure(strategy["on_failure"])}),
            wishes=Wishes(expires_at=expires_at),
            expiry=str(data.get("expires_in_s", data.get("expires_at", ""))),
            timeout_s=data.get("timeout_s", settings.KVPLANE_AGENT_TIMEOUT),
            concurrency=data["concurrency"],
            reason=data["reason"],
        )
