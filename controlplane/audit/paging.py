"""Pages of the log."""

from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from controlplane.audit.searching import number_of
from controlplane.rest.pagination import StrictCursorPagination


class AuditPagination(StrictCursorPagination):
    """By number, whatever is asked for: moments are in the same order."""

    def get_ordering(self, request: Request, queryset: Any, view: APIView) -> tuple[str, ...]:
        """One column, ascending or descending."""
        (first, *_) = super().get_ordering(request, queryset, view)
        number = number_of(queryset)
        return (f"-{number}" if first.startswith("-") else number,)
