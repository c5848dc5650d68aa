"""The loop's notes as JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from controlplane.fleet.models import Health
from controlplane.reconcile import examples
from controlplane.reconcile.attending import policy_of
from controlplane.reconcile.models import Controller, Policy, Watch
from controlplane.rest.examples import sent, shown
from controlplane.rest.fields import DiffField
from controlplane.rest.strict import StrictSerializer


class DriftSerializer(serializers.Serializer[Any]):
    """What is not as it should be: from what is there to what should be."""

    configuration = DiffField(required=False)
    modes = DiffField(required=False)


@extend_schema_field(DriftSerializer)
class _DriftField(serializers.JSONField):
    pass


@shown(examples.WATCH)
class WatchSerializer(serializers.ModelSerializer[Watch]):
    """How an agent does, and whether it is as it should be."""

    agent = serializers.CharField(source="agent.name", read_only=True)
    engine = serializers.CharField(source="agent.engine.name", read_only=True)
    health = serializers.ChoiceField(choices=Health.choices, source="agent.health", read_only=True)
    last_seen_at = serializers.DateTimeField(
        source="agent.last_seen_at", read_only=True, allow_null=True
    )
    drift = _DriftField(read_only=True)
    policy = serializers.SerializerMethodField()
    own_policy = serializers.SerializerMethodField()

    class Meta:
        model = Watch
        fields = [
            "agent",
            "engine",
            "health",
            "last_seen_at",
            "policy",
            "own_policy",
            "boot_id",
            "polled_at",
            "missed",
            "drift",
            "drift_since",
            "attempts",
            "next_attempt_at",
            "gave_up_at",
            "last_error",
            "holder",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=Policy.choices))
    def get_policy(self, watch: Watch) -> str:
        """The one that holds, be it the agent's own or that of the setting."""
        return policy_of(watch).value

    def get_own_policy(self, watch: Watch) -> bool:
        """Whether it is the agent's own."""
        return bool(watch.policy)


@sent("Only tell", examples.WATCH_CHANGES)
class WatchChangesSerializer(StrictSerializer):
    """What can be chosen for an agent."""

    policy = serializers.ChoiceField(
        choices=Policy.choices,
        allow_null=True,
        help_text="What is done when it drifts: enforce repairs it, report only says so, adopt "
        "takes what it has for what it should be. null: as the setting says.",
    )


@shown(examples.CONTROLLER)
class ControllerSerializer(serializers.ModelSerializer[Controller]):
    """A control loop that runs."""

    class Meta:
        model = Controller
        fields = ["id", "name", "started_at", "seen_at", "alive_until", "agents", "cycle_ms"]
        read_only_fields = fields
