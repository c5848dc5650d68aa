"""Chunk statistics over HTTP."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from django.conf import settings
from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.actors import request_actor
from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.fleet.services import find_agent
from controlplane.middleware import request_id_of
from controlplane.rest.answers import problem, usual
from controlplane.rest.links import Link, LinkGroup
from controlplane.rest.negotiation import PageIfNamed
from controlplane.statistics import services
from controlplane.statistics.files import csv_file
from controlplane.statistics.filters import ChunkStatisticsFilter
from controlplane.statistics.models import ChunkStatisticsSnapshot
from controlplane.statistics.serializers import (
    BucketSerializer,
    ChunkStatisticsSerializer,
    SampleSerializer,
    SeriesQuerySerializer,
)

_NOTHING_COUNTED = problem(
    HTTPStatus.CONFLICT,
    "No chunk statistics",
    "Agent 'smollm2-worker-0' has no chunk statistics: it has no lookup client. Name a scheduler, "
    "and set its 'enable_chunk_statistics' before its lookup client is made.",
    "It counts no chunks, or restarted meanwhile.",
    agent="smollm2-worker-0",
)


class ChunkStatisticsViewSet(
    ViewersReadOperatorsChange, ReadOnlyModelViewSet[ChunkStatisticsSnapshot]
):
    """What agents had counted, moment by moment. Snapshots are taken by the control loop and
    on demand; only an agent with chunk statistics enabled counts anything."""

    queryset = ChunkStatisticsSnapshot.objects.all()
    serializer_class = ChunkStatisticsSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = ChunkStatisticsFilter
    ordering_fields = ["id", "taken_at"]
    ordering = ["-id"]
    columns: ClassVar = [
        "id",
        "agent",
        "taken_at",
        "trigger",
        "run",
        "total_requests",
        "total_chunks",
        "unique_chunks",
        "reuse_rate",
    ]

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What can be done with the snapshots of the list."""
        if "results" not in document:
            return []
        chosen = self.request.META.get("QUERY_STRING", "")
        links = (
            Link("Series", reverse("chunk-statistics-series"), "increments, bucket by bucket"),
            Link("Sample", reverse("chunk-statistics-sample"), "take a snapshot now"),
            Link(
                "Export",
                f"{reverse('chunk-statistics-export')}?{chosen}",
                "what passes the filters of this page, as CSV",
            ),
        )
        return [LinkGroup("What else there is", links)]


class SeriesView(ViewersReadOperatorsChange, APIView):
    """What an agent or an engine counted, bucket by bucket."""

    name: ClassVar[str] = "Series of chunk statistics"

    @extend_schema(
        operation_id="get_chunk_statistics_series",
        parameters=[SeriesQuerySerializer],
        responses={
            200: BucketSerializer(many=True),
            **usual(404),
        },
    )
    def get(self, request: Request) -> Response:
        """The increments within each bucket, oldest first; a bucket without a snapshot is
        a gap. What was counted between two snapshots belongs to the later one's bucket."""
        query = SeriesQuerySerializer(data=request.query_params)
        buckets = query.buckets(services.series_of_agent, services.series_of_engine)
        shown = BucketSerializer()
        return Response([shown.to_representation(bucket) for bucket in buckets])


class ExportView(ViewersReadOperatorsChange, GenericAPIView[ChunkStatisticsSnapshot]):
    """The snapshots as a file."""

    name: ClassVar[str] = "Export chunk statistics"

    queryset = ChunkStatisticsSnapshot.objects.all()
    serializer_class = ChunkStatisticsSerializer
    filterset_class = ChunkStatisticsFilter
    ordering_fields = ["id", "taken_at"]
    ordering = ["-id"]
    pagination_class = None
    content_negotiation_class = PageIfNamed

    @extend_schema(
        operation_id="export_chunk_statistics", filters=True, responses={(200, "text/csv"): str}
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """All snapshots that match as CSV, with a line of names."""
        rows = self.filter_queryset(self.get_queryset())
        return csv_file("chunk-statistics", services.csv_lines(rows, services.CHUNK_COLUMNS))


class SampleView(ViewersReadOperatorsChange, APIView):
    """A snapshot of what an agent has counted, on demand."""

    name: ClassVar[str] = "Sample chunk statistics"

    @extend_schema(
        operation_id="sample_chunk_statistics",
        request=SampleSerializer,
        responses={
            201: ChunkStatisticsSerializer,
            **usual(404, 502, 504),
            **_NOTHING_COUNTED,
        },
    )
    def post(self, request: Request) -> Response:
        """Ask an agent now, and keep what it says."""
        asked = SampleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        snapshot = services.sample_by_hand(
            find_agent(asked.validated_data["agent"]),
            actor=request_actor(request),
            request_id=request_id_of(request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
        )
        return Response(ChunkStatisticsSerializer(snapshot).data, status=status.HTTP_201_CREATED)
