"""Chunk statistics as JSON, and what is asked for of the series of any kind."""

from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from django.utils import timezone
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from controlplane.fleet.suggesting import agent_names, engine_names
from controlplane.fleet.validation import validate_name
from controlplane.rest.examples import sent, shown
from controlplane.statistics import examples
from controlplane.statistics.models import ChunkStatisticsSnapshot
from controlplane.statistics.series import Bucket
from controlplane.statistics.window import BOUNDS, EARLIEST, LATEST, MAX_BUCKET_S, MIN_BUCKET_S

_DEFAULT_BUCKET_S = 3_600
_DEFAULT_LENGTH = timedelta(hours=24)
Buckets = TypeVar("Buckets", covariant=True)


class SeriesOf(Protocol[Buckets]):
    """A series of an agent, or of an engine."""

    def __call__(
        self, name: str, /, *, since: datetime, until: datetime, bucket_s: int
    ) -> Buckets: ...


@extend_schema_serializer(component_name="ChunkStatisticsSnapshot")
@shown(examples.SNAPSHOT)
class ChunkStatisticsSerializer(serializers.ModelSerializer[ChunkStatisticsSnapshot]):
    """What an agent had counted at one moment."""

    counters = serializers.DictField(child=serializers.FloatField(), read_only=True)

    class Meta:
        model = ChunkStatisticsSnapshot
        fields = [
            "id",
            "agent",
            "engine",
            "taken_at",
            "reported_at",
            "trigger",
            "boot_id",
            "run",
            "enabled",
            "strategy",
            "total_requests",
            "total_chunks",
            "unique_chunks",
            "duplicate_chunks",
            "reuse_rate",
            "counters",
            "resolution_s",
        ]
        read_only_fields = fields


@sent("A scheduler", examples.SAMPLE)
class SampleSerializer(serializers.Serializer[ChunkStatisticsSnapshot]):
    """Which agent to ask."""

    agent = serializers.CharField(
        max_length=128,
        validators=[validate_name],
        help_text="The name of the agent: a scheduler, with chunk statistics enabled.",
        style={"placeholder": "smollm2-scheduler", "suggestions": agent_names},
    )


def _within_bounds(moment: datetime) -> None:
    # Before anything is computed from it.
    if not EARLIEST <= moment <= LATEST:
        raise serializers.ValidationError(BOUNDS)


class SeriesQuerySerializer(serializers.Serializer[Bucket]):
    """Of whom, from when to when, and how finely."""

    agent = serializers.CharField(
        max_length=128,
        required=False,
        help_text="Give this or `engine`.",
        style={"placeholder": "smollm2-scheduler", "suggestions": agent_names},
    )
    engine = serializers.CharField(
        max_length=128,
        required=False,
        help_text="The sums over its agents.",
        style={"placeholder": "smollm2", "suggestions": engine_names},
    )
    since = serializers.DateTimeField(
        required=False,
        validators=[_within_bounds],
        help_text="24 hours before `until` unless given.",
        style={"placeholder": "2026-01-30T12:00:00Z"},
    )
    until = serializers.DateTimeField(
        required=False,
        validators=[_within_bounds],
        help_text="Now unless given.",
        style={"placeholder": "2026-01-31T12:00:00Z"},
    )
    bucket = serializers.IntegerField(
        min_value=MIN_BUCKET_S,
        max_value=MAX_BUCKET_S,
        default=_DEFAULT_BUCKET_S,
        help_text="Seconds; buckets begin at multiples of it since 1970 (UTC).",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Exactly one name, and both moments."""
        if ("agent" in attrs) == ("engine" in attrs):
            raise serializers.ValidationError(
                {"agent": ["Give either 'agent' or 'engine', and not both."]}
            )
        until = attrs.get("until") or timezone.now()
        return {"since": until - _DEFAULT_LENGTH, **attrs, "until": until}

    def buckets(self, of_agent: SeriesOf[Buckets], of_engine: SeriesOf[Buckets]) -> Buckets:
        """The series that is asked for. Raises ValidationError, InvalidParameter,
        AgentNotFound and EngineNotFound."""
        self.is_valid(raise_exception=True)
        asked = self.validated_data
        span = {"since": asked["since"], "until": asked["until"], "bucket_s": asked["bucket"]}
        if "agent" in asked:
            return of_agent(asked["agent"], **span)
        return of_engine(asked["engine"], **span)


@shown(examples.BUCKET)
class BucketSerializer(serializers.Serializer[Bucket]):
    """What was counted within a bucket; null where no snapshot was taken."""

    start = serializers.DateTimeField(read_only=True)
    end = serializers.DateTimeField(read_only=True)
    samples = serializers.IntegerField(read_only=True, help_text="Snapshots in it.")
    runs = serializers.IntegerField(
        read_only=True, help_text="Runs of agents that the snapshots belong to."
    )
    total_requests = serializers.IntegerField(read_only=True, allow_null=True)
    total_chunks = serializers.IntegerField(read_only=True, allow_null=True)
    unique_chunks = serializers.IntegerField(read_only=True, allow_null=True)
    duplicate_chunks = serializers.IntegerField(read_only=True, allow_null=True)
    reuse_rate = serializers.FloatField(
        read_only=True,
        allow_null=True,
        help_text="duplicate_chunks / total_chunks; null also if no chunk was counted.",
    )
