"""What the snapshots of every kind of statistics have in common over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.viewsets import ReadOnlyModelViewSet

from controlplane.accounts.permissions import ViewersReadOperatorsChange
from controlplane.rest.links import Link, LinkGroup
from controlplane.rest.negotiation import PageIfNamed
from controlplane.statistics import services
from controlplane.statistics.files import csv_file
from controlplane.statistics.models import Snapshot

Kind = TypeVar("Kind", bound=Snapshot)


class SnapshotViewSet(ViewersReadOperatorsChange, ReadOnlyModelViewSet[Kind]):
    """Snapshots of one kind, newest first. Its series and its file are routed as
    `{named}-series` and `{named}-export`."""

    lookup_value_regex = "[0-9]{1,18}"
    ordering_fields = ["id", "taken_at"]
    ordering = ["-id"]
    named: ClassVar[str]
    series_of: ClassVar[str]
    """What a series of them is of."""

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What can be done with the snapshots of the list."""
        if "results" not in document:
            return []
        chosen = self.request.META.get("QUERY_STRING", "")
        links = (
            Link("Series", reverse(f"{self.named}-series"), f"{self.series_of}, by the bucket"),
            *self.more_links(),
            Link(
                "Export",
                f"{reverse(f'{self.named}-export')}?{chosen}",
                "what passes the filters of this page, as CSV",
            ),
        )
        return [LinkGroup("What else there is", links)]

    def more_links(self) -> Sequence[Link]:
        """Of this kind alone."""
        return ()


class SnapshotExportView(ViewersReadOperatorsChange, GenericAPIView[Kind]):
    """The snapshots as a file."""

    ordering_fields = ["id", "taken_at"]
    ordering = ["-id"]
    pagination_class = None
    content_negotiation_class = PageIfNamed
    exported: ClassVar[str]
    """What the file is called, without its ending."""
    exported_columns: ClassVar[Sequence[str]]

    @extend_schema(filters=True, responses={(200, "text/csv"): str})
    def get(self, request: Request) -> StreamingHttpResponse:
        """All snapshots that match as CSV, with a line of names."""
        rows = self.filter_queryset(self.get_queryset())
        return csv_file(self.exported, services.csv_lines(rows, self.exported_columns))
