"""The loop's notes as JSON."""

from rest_framework import serializers

from controlplane.reconcile.attending import policy_of
from controlplane.reconcile.models import Controller, Policy, Watch
from controlplane.rest.strict import StrictSerializer


class WatchSerializer(serializers.ModelSerializer[Watch]):
    """How an agent does, and whether it is as it should be."""

    agent = serializers.CharField(source="agent.name", read_only=True)
    engine = serializers.CharField(source="agent.engine.name", read_only=True)
    health = serializers.CharField(source="agent.health", read_only=True)
    last_seen_at = serializers.DateTimeField(
        source="agent.last_seen_at", read_only=True, allow_null=True
    )
    drift = serializers.DictField(read_only=True)
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

    def get_policy(self, watch: Watch) -> str:
        """The one that holds, be it the agent's own or that of the setting."""
        return policy_of(watch).value

    def get_own_policy(self, watch: Watch) -> bool:
        """Whether it is the agent's own."""
        return bool(watch.policy)


class WatchChangesSerializer(StrictSerializer):
    """What can be chosen for an agent."""

    policy = serializers.ChoiceField(
        choices=Policy.choices,
        allow_null=True,
        help_text="What is done when it drifts: enforce repairs it, report only says so, adopt "
        "takes what it has for what it should be. null: as the setting says.",
    )


class ControllerSerializer(serializers.ModelSerializer[Controller]):
    """A control loop that runs."""

    class Meta:
        model = Controller
        fields = ["id", "name", "started_at", "seen_at", "alive_until", "agents", "cycle_ms"]
        read_only_fields = fields
