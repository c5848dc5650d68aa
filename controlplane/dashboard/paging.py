"""Pages of a list, as the API has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework.request import Request

from controlplane.rest.pagination import StrictCursorPagination


@dataclass(frozen=True)
class Page:
    """Rows, and the addresses of what comes before and after: "" if nothing does."""

    rows: Sequence[Any]
    newer: str
    older: str


def page_of(paginator: StrictCursorPagination, rows: QuerySet[Any], request: HttpRequest) -> Page:
    """The page that the address asks for. Raises rest_framework's ValidationError."""
    found = paginator.paginate_queryset(rows, Request(request))
    return Page(found or [], paginator.get_previous_link() or "", paginator.get_next_link() or "")
