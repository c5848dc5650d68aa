"""What every request gets: an id, a refusal of NUL characters, and an answer when the
database fails."""

import re
import uuid
from collections.abc import Callable

from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from controlplane.audit.redaction import redact_text
from controlplane.errors import no_database, nul_character

_SANE = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
HEADER = "X-Request-ID"


class RequestIdMiddleware:
    """Takes `X-Request-ID` (1 to 128 visible ASCII characters) or makes one,
    keeps it in `request.request_id` and returns it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _is_fit(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self._get_response(request)
        response.headers[HEADER] = request_id
        return response


def _is_fit(given: str) -> bool:
    # It stands on every record; a secret that somebody put there by mistake must not.
    return _SANE.fullmatch(given) is not None and redact_text(given) == given


class NoNulMiddleware:
    """Refuses NUL characters: no text of ours holds one and PostgreSQL cannot store one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        if "%00" in request.META.get("QUERY_STRING", "") or "\x00" in request.path_info:
            return nul_character(request)
        return self._get_response(request)


class NoDatabaseMiddleware:
    """Answers 503 when the database failed in a view that is not of the API, such as a
    login that cannot be put on record."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Django's hook; None for errors of any other kind, which go on."""
        return no_database(request, error) if isinstance(error, DatabaseError) else None


def request_id_of(request: HttpRequest) -> str:
    """The id that RequestIdMiddleware gave the request."""
    request_id: str = request.request_id  # type: ignore[attr-defined]
    return request_id
