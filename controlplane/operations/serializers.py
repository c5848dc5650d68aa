"""Operations as JSON."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework import serializers

from controlplane.accounts.serializers import in_the_future
from controlplane.audit.limits import MAX_REASON
from controlplane.fleet.models import ROLE_CHOICES
from controlplane.fleet.serializers import LabelsField
from controlplane.fleet.suggesting import agent_names, engine_names
from controlplane.operations.effects import Wishes
from controlplane.operations.models import Operation, OperationTarget
from controlplane.operations.planning import MAX_CONCURRENCY, Plan
from controlplane.operations.selecting import Selector
from controlplane.operations.strategy import OnFailure, Strategy
from controlplane.rest.strict import StrictSerializer
from engine.contract import CATALOGUE, Role

ACTIONS = {entry.action: entry for entry in CATALOGUE if entry.action is not None}


class OperationTargetSerializer(serializers.ModelSerializer[OperationTarget]):
    """What came of an operation on one agent."""

    class Meta:
        model = OperationTarget
        fields = ["agent", "wave", "state", "undone", "status", "answer", "error", "duration_ms"]
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
            "targets",
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
        choices=[(choice.value, choice.value) for choice in OnFailure],
        default="stop",
        help_text="When more fail than are borne: call nobody else, go on all the same, or take "
        "back what was changed.",
    )


class NewOperationSerializer(StrictSerializer):
    """One action on many agents."""

    action = serializers.ChoiceField(
        choices=[(name, name) for name in sorted(ACTIONS)],
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
