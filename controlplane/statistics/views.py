"""Chunk statistics over HTTP."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.accounts.actors import request_actor
from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.fleet.services import find_agent
from controlplane.middleware import request_id_of
from controlplane.rest.answers import problem, usual
from controlplane.rest.links import Link
from controlplane.statistics import services
from controlplane.statistics.filters import ChunkStatisticsFilter
from controlplane.statistics.models import ChunkStatisticsSnapshot
from controlplane.statistics.serializers import (
    BucketSerializer,
    ChunkStatisticsSerializer,
    SampleSerializer,
    SeriesQuerySerializer,
)
from controlplane.statistics.snapshot_views import SnapshotExportView, SnapshotViewSet

_NOTHING_COUNTED = problem(
    HTTPStatus.CONFLICT,
    "No chunk statistics",
    "Agent 'smollm2-worker-0' has no chunk statistics: it has no lookup client. Name a scheduler, "
    "and set its 'enable_chunk_statistics' before its lookup client is made.",
    "It counts no chunks, or restarted meanwhile.",
    agent="smollm2-worker-0",
)


class ChunkStatisticsViewSet(SnapshotViewSet[ChunkStatisticsSnapshot]):
    """What agents had counted, moment by moment. Snapshots are taken by the control loop and
    on demand; only an agent with chunk statistics enabled counts anything."""

    queryset = ChunkStatisticsSnapshot.objects.all()
    serializer_class = ChunkStatisticsSerializer
    filterset_class = ChunkStatisticsFilter
    named = "chunk-statistics"
    series_of = "increments"
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

    def more_links(self) -> Sequence[Link]:
        """Counting is asked for, too."""
        return (Link("Sample", reverse("chunk-statistics-sample"), "take a snapshot now"),)


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


@extend_schema_view(get=extend_schema(operation_id="export_chunk_statistics"))
class ExportView(SnapshotExportView[ChunkStatisticsSnapshot]):
    """The snapshots as a file."""

    name: ClassVar[str] = "Export chunk statistics"

    queryset = ChunkStatisticsSnapshot.objects.all()
    serializer_class = ChunkStatisticsSerializer
    filterset_class = ChunkStatisticsFilter
    exported = "chunk-statistics"
    exported_columns = services.CHUNK_COLUMNS


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
