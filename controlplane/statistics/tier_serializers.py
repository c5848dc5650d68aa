"""Statistics of tiers as JSON."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from controlplane.rest.examples import shown
from controlplane.statistics import examples
from controlplane.statistics.models import TierStatisticsSnapshot
from controlplane.statistics.tier_series import TierBucket, TierUse

_LOOKED_UP = "Tokens that retrieves asked the tier for."
_HIT = "Of those, tokens that it had."
_CAPACITY = "0: no limit."


class TierSerializer(serializers.Serializer[dict[str, int]]):
    """What an agent had counted of one tier, and what was in it."""

    looked_up_tokens = serializers.IntegerField(read_only=True, help_text=_LOOKED_UP)
    hit_tokens = serializers.IntegerField(read_only=True, help_text=_HIT)
    chunks = serializers.IntegerField(read_only=True)
    used_bytes = serializers.IntegerField(read_only=True)
    capacity_bytes = serializers.IntegerField(read_only=True, help_text=_CAPACITY)


@extend_schema_serializer(component_name="TierStatisticsSnapshot")
@shown(examples.TIER_SNAPSHOT)
class TierStatisticsSerializer(serializers.ModelSerializer[TierStatisticsSnapshot]):
    """What an agent had counted of its tiers at one moment, and what was in them."""

    tiers = serializers.DictField(
        child=TierSerializer(),
        read_only=True,
        help_text="By backend; counts are those since the run began.",
    )

    class Meta:
        model = TierStatisticsSnapshot
        fields = [
            "id",
            "agent",
            "engine",
            "taken_at",
            "trigger",
            "boot_id",
            "run",
            "requested_tokens",
            "retrieved_tokens",
            "stored_tokens",
            "tiers",
            "resolution_s",
        ]
        read_only_fields = fields


class TierUseSerializer(serializers.Serializer[TierUse]):
    """One tier within a bucket, over all agents."""

    looked_up_tokens = serializers.IntegerField(read_only=True, help_text=_LOOKED_UP)
    hit_tokens = serializers.IntegerField(read_only=True, help_text=_HIT)
    hit_rate = serializers.FloatField(
        read_only=True,
        allow_null=True,
        help_text="hit_tokens / looked_up_tokens; null if nothing was looked up.",
    )
    chunks = serializers.IntegerField(
        read_only=True, help_text="As the last snapshot of each agent says."
    )
    used_bytes = serializers.IntegerField(read_only=True)
    capacity_bytes = serializers.IntegerField(read_only=True, help_text=_CAPACITY)


@shown(examples.TIER_BUCKET)
class TierBucketSerializer(serializers.Serializer[TierBucket]):
    """What tiers were asked for and had within a bucket, and what was in them at its end;
    null where no snapshot was taken."""

    start = serializers.DateTimeField(read_only=True)
    end = serializers.DateTimeField(read_only=True)
    samples = serializers.IntegerField(read_only=True, help_text="Snapshots in it.")
    runs = serializers.IntegerField(
        read_only=True, help_text="Runs of agents that the snapshots belong to."
    )
    agents = serializers.IntegerField(
        read_only=True, help_text="Agents that the snapshots are of: whose sums these are."
    )
    requested_tokens = serializers.IntegerField(
        read_only=True,
        allow_null=True,
        help_text="Tokens that retrieves asked for; null also if no agent says.",
    )
    retrieved_tokens = serializers.IntegerField(read_only=True, allow_null=True)
    stored_tokens = serializers.IntegerField(read_only=True, allow_null=True)
    tiers = serializers.DictField(
        child=TierUseSerializer(), read_only=True, allow_null=True, help_text="By backend."
    )
    begun = serializers.ListField(
        child=serializers.DateTimeField(),
        read_only=True,
        help_text="When counts began anew: the first snapshots of runs that followed another.",
    )
