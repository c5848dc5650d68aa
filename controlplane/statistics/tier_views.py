"""Statistics of tiers over HTTP."""

from typing import ClassVar

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.rest.answers import usual
from controlplane.statistics import services
from controlplane.statistics.filters import TierStatisticsFilter
from controlplane.statistics.models import TierStatisticsSnapshot
from controlplane.statistics.serializers import SeriesQuerySerializer
from controlplane.statistics.snapshot_views import SnapshotExportView, SnapshotViewSet
from controlplane.statistics.tier_serializers import (
    TierBucketSerializer,
    TierStatisticsSerializer,
)


class TierStatisticsViewSet(SnapshotViewSet[TierStatisticsSnapshot]):
    """What agents had counted of their tiers, moment by moment, and what was in them.
    Snapshots are taken by the control loop, of every agent that tells its tiers' counts in
    `/agent/status`."""

    queryset = TierStatisticsSnapshot.objects.all()
    serializer_class = TierStatisticsSerializer
    filterset_class = TierStatisticsFilter
    named = "tier-statistics"
    series_of = "hit rates"
    columns: ClassVar = [
        "id",
        "agent",
        "taken_at",
        "trigger",
        "run",
        "requested_tokens",
        "retrieved_tokens",
        "stored_tokens",
        "tiers",
    ]


class TierSeriesView(ViewersReadOperatorsChange, APIView):
    """What the tiers of an agent or an engine were asked for and had, bucket by bucket."""

    name: ClassVar[str] = "Series of tier statistics"

    @extend_schema(
        operation_id="get_tier_statistics_series",
        parameters=[SeriesQuerySerializer],
        responses={
            200: TierBucketSerializer(many=True),
            **usual(404),
        },
    )
    def get(self, request: Request) -> Response:
        """Hit rates and tokens within each bucket, oldest first; a bucket without a snapshot
        is a gap. What was counted between two snapshots belongs to the later one's bucket."""
        query = SeriesQuerySerializer(data=request.query_params)
        buckets = query.buckets(services.tier_series_of_agent, services.tier_series_of_engine)
        shown = TierBucketSerializer()
        return Response([shown.to_representation(bucket) for bucket in buckets])


@extend_schema_view(get=extend_schema(operation_id="export_tier_statistics"))
class TierExportView(SnapshotExportView[TierStatisticsSnapshot]):
    """The snapshots as a file."""

    name: ClassVar[str] = "Export tier statistics"

    queryset = TierStatisticsSnapshot.objects.all()
    serializer_class = TierStatisticsSerializer
    filterset_class = TierStatisticsFilter
    exported = "tier-statistics"
    exported_columns = services.TIER_COLUMNS
