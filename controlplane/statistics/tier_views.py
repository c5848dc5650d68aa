"""Statistics of tiers over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.rest.answers import usual
from controlplane.rest.links import Link, LinkGroup
from controlplane.rest.negotiation import PageIfNamed
from controlplane.statistics import services
from controlplane.statistics.files import csv_file
from controlplane.statistics.filters import TierStatisticsFilter
from controlplane.statistics.models import TierStatisticsSnapshot
from controlplane.statistics.serializers import SeriesQuerySerializer
from controlplane.statistics.tier_serializers import (
    TierBucketSerializer,
    TierStatisticsSerializer,
)


class TierStatisticsViewSet(
    ViewersReadOperatorsChange, ReadOnlyModelViewSet[TierStatisticsSnapshot]
):
    """What agents had counted of their tiers, moment by moment, and what was in them.
    Snapshots are taken by the control loop, of every agent that tells its tiers' counts in
    `/agent/status`."""

    queryset = TierStatisticsSnapshot.objects.all()
    serializer_class = TierStatisticsSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = TierStatisticsFilter
    ordering_fields = ["id", "taken_at"]
    ordering = ["-id"]
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

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What can be done with the snapshots of the list."""
        if "results" not in document:
            return []
        chosen = self.request.META.get("QUERY_STRING", "")
        links = (
            Link("Series", reverse("tier-statistics-series"), "hit rates, bucket by bucket"),
            Link(
                "Export",
                f"{reverse('tier-statistics-export')}?{chosen}",
                "what passes the filters of this page, as CSV",
            ),
        )
        return [LinkGroup("What else there is", links)]


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


class TierExportView(ViewersReadOperatorsChange, GenericAPIView[TierStatisticsSnapshot]):
    """The snapshots as a file."""

    name: ClassVar[str] = "Export tier statistics"

    queryset = TierStatisticsSnapshot.objects.all()
    serializer_class = TierStatisticsSerializer
    filterset_class = TierStatisticsFilter
    ordering_fields = ["id", "taken_at"]
    ordering = ["-id"]
    pagination_class = None
    content_negotiation_class = PageIfNamed

    @extend_schema(
        operation_id="export_tier_statistics", filters=True, responses={(200, "text/csv"): str}
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """All snapshots that match as CSV, with a line of names."""
        rows = self.filter_queryset(self.get_queryset())
        return csv_file("tier-statistics", services.csv_lines(rows, services.TIER_COLUMNS))
