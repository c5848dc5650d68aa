"""Cursor pagination whose every mistake is a 400 that names the parameter."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import ValidationError as InvalidRequest
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from engine.contract import InvalidParameter, parse_int

_CURSOR: dict[str, Any] = {
    "type": ["string", "null"],
    "description": "The `cursor` of that page; null if there is none.",
    "example": "cD0yMDI2LTExLTIz",
}


class StrictCursorPagination(CursorPagination):
    """`?cursor=…&page_size=…`: pages that neither skip nor repeat a row when
    rows are added meanwhile."""

    ordering = "-id"
    page_size_query_param = "page_size"
    max_page_size = 500

    def get_page_size(self, request: Request) -> int:
        """The page size asked for. Raises ValidationError (400)."""
        text = request.query_params.get(self.page_size_query_param or "")
        if text is None:
            return int(self.page_size or 50)
        try:
            return parse_int("page_size", text, minimum=1, maximum=self.max_page_size)
        except InvalidParameter as error:
            raise InvalidRequest({"page_size": [error.message]}) from None

    def decode_cursor(self, request: Request) -> Cursor | None:
        """The cursor asked for. Raises ValidationError (400)."""
        try:
            cursor = super().decode_cursor(request)
        except NotFound:
            raise _bad_cursor() from None
        if cursor is not None and "\x00" in str(cursor.position):
            raise _bad_cursor()
        return cursor

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: APIView | None = None,
    ) -> list[Any] | None:
        """One page. Raises ValidationError (400) for a cursor made up by hand."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, OverflowError, ValidationError):
            # The position does not fit the type of the column it is for.
            raise _bad_cursor() from None

    def get_paginated_response(self, data: Any) -> Response:
        """The page, with the neighbours' cursors besides their URLs: a generated client
        has a parameter to put them into."""
        next_url, previous_url = self.get_next_link(), self.get_previous_link()
        return Response(
            {
                "next": next_url,
                "previous": previous_url,
                "next_cursor": self._cursor_in(next_url),
                "previous_cursor": self._cursor_in(previous_url),
                "results": data,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The page as the OpenAPI document has it."""
        page = super().get_paginated_response_schema(schema)
        page["properties"] |= {"next_cursor": _CURSOR, "previous_cursor": _CURSOR}
        page["required"] = list(page["properties"])
        return page

    def _cursor_in(self, url: str | None) -> str | None:
        if url is None:
            return None
        (cursor,) = parse_qs(urlsplit(url).query)[self.cursor_query_param]
        return cursor


def _bad_cursor() -> InvalidRequest:
    return InvalidRequest(
        {"cursor": ["Take the cursor from 'next_cursor' or 'previous_cursor' of a page."]}
    )
