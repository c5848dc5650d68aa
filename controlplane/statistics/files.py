"""Files that are made while they are sent."""

from collections.abc import Iterable

from django.http import StreamingHttpResponse


def csv_file(name: str, lines: Iterable[str]) -> StreamingHttpResponse:
    """The lines as a file to be saved under that name."""
    return StreamingHttpResponse(
        lines,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )
