"""Every error as JSON: `{"error", "message", ...}`, inside DRF and outside."""

import logging
import math
from http import HTTPStatus

from django.conf import settings
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views import csrf, defaults
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from controlplane.fleet.errors import NoDefaultAgent
from controlplane.rest.first_look import FirstLook, is_first_look
from controlplane.rest.remedies import problem_of
from engine.contract import ContractError

logger = logging.getLogger(__name__)
_WHOLE = "non_field_errors"
_NO_DATABASE = {
    "error": "Service unavailable",
    "message": "The control plane's database did not do what it should; the log has the details "
    "under this X-Request-ID. Try again.",
}
_DASHBOARD = "/dashboard/"
_PAGES_OF_DJANGO = ("/admin/", "/api/auth/", _DASHBOARD)
_STALE_FORM = {
    "status": HTTPStatus.FORBIDDEN.value,
    "title": "This form is out of date",
    "message": "Somebody logged in or out in this browser after the page with the form was "
    "loaded, or the browser sends no cookies. Nothing was changed. Go back, load the page again, "
    "and send the form once more.",
}


def exception_handler(error: Exception, context: dict[str, object]) -> Response | None:
    """DRF's exception handler. None lets the exception go on to become a 500."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, DjangoPermissionDenied):
        error = exceptions.PermissionDenied()
    elif isinstance(error, RequestDataTooBig):
        error = exceptions.ParseError("The request body is too long.")
    elif isinstance(error, DjangoValidationError):
        error = exceptions.ValidationError(_fields_of(error))
    request = context.get("request")
    response: Response
    if isinstance(request, Request) and is_first_look(error, request):
        response = FirstLook(_needs(error))
    elif isinstance(error, ContractError):
        response = Response(error.body(), status=error.status)
        if error.status == HTTPStatus.UNAUTHORIZED:
            response["WWW-Authenticate"] = 'Bearer realm="kvplane"'
    elif isinstance(error, DatabaseError):
        logger.error("the database failed", exc_info=error)
        response = Response(_NO_DATABASE, status=HTTPStatus.SERVICE_UNAVAILABLE)
    elif isinstance(error, exceptions.APIException):
        response = _from_api_exception(error)
    else:
        return None
    set_rollback()
    return response


def _needs(error: Exception) -> str:
    if isinstance(error, NoDefaultAgent) and error.candidates:
        return "Choose one of the agents that have what it needs."
    if isinstance(error, ContractError):
        return error.message
    if isinstance(error, exceptions.ValidationError):
        return str(_validation_body(error.detail)["message"])
    return ""


def _fields_of(error: DjangoValidationError) -> dict[str, list[str]]:
    return error.message_dict if hasattr(error, "error_dict") else {_WHOLE: error.messages}


def _from_api_exception(error: exceptions.APIException) -> Response:
    response = Response(status=error.status_code)
    if auth_header := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = auth_header
    if (wait := getattr(error, "wait", None)) is not None:
        response["Retry-After"] = str(max(1, round(wait)))
    if isinstance(error, exceptions.ValidationError):
        response.data = _validation_body(error.detail)
    else:
        response.data = {
            "error": HTTPStatus(error.status_code).phrase.capitalize(),
            "message": str(error.detail),
        }
    return response


def _validation_body(detail: object) -> dict[str, object]:
    fields = detail if isinstance(detail, dict) else {_WHOLE: detail}
    path, why = _first_message(fields, ())
    named = [name for name in path if name != _WHOLE]
    shown = f"'{'.'.join(named)}': {why}" if named else why
    return {"error": "Invalid request", "message": shown, "fields": fields}


def _first_message(detail: object, path: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    if isinstance(detail, dict) and detail:
        key, value = next(iter(detail.items()))
        return _first_message(value, (*path, str(key)))
    if isinstance(detail, list) and detail:
        return _first_message(detail[0], path)
    return path, str(detail)


def _answer(request: HttpRequest, status: HTTPStatus, message: str) -> HttpResponse:
    body = {"error": status.phrase.capitalize(), "message": message}
    if not _wants_html(request):
        return JsonResponse(body, status=status.value)
    # Without the request: whoever that is may be what failed.
    page = render_to_string("problem.html", {"problem": problem_of(status.value, body)})
    return HttpResponse(page, status=status.value)


def _wants_html(request: HttpRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _wants_djangos(request: HttpRequest) -> bool:
    return request.path.startswith(_PAGES_OF_DJANGO) and _wants_html(request)


def nul_character(request: HttpRequest) -> HttpResponse:
    """400 for a NUL character in the path or the query string."""
    return _answer(
        request,
        HTTPStatus.BAD_REQUEST,
        "The path or the query string has a NUL character; leave it out.",
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    if _wants_djangos(request):
        return defaults.bad_request(request, exception)
    return _answer(
        request, HTTPStatus.BAD_REQUEST, str(exception) or "The request cannot be understood."
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    if _wants_djangos(request):
        return defaults.permission_denied(request, exception)
    return _answer(request, HTTPStatus.FORBIDDEN, "Your role does not allow this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    if _wants_djangos(request):
        return defaults.page_not_found(request, exception)
    return _answer(
        request,
        HTTPStatus.NOT_FOUND,
        "There is nothing at this path; /api/docs/ lists what there is.",
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500."""
    return _answer(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The control plane failed; its log has the details under this X-Request-ID.",
    )


def no_database(request: HttpRequest, error: DatabaseError) -> HttpResponse:
    """503, where Django itself would answer 500."""
    logger.error("the database failed", exc_info=error)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    if _wants_html(request):
        told = {"title": _NO_DATABASE["error"], "details": _NO_DATABASE["message"]}
        return HttpResponse(defaults.ERROR_PAGE_TEMPLATE % told, status=status)
    return JsonResponse(_NO_DATABASE, status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW."""
    if request.path.startswith(_DASHBOARD) and _wants_html(request):
        return render(request, "dashboard/error.html", _STALE_FORM, status=HTTPStatus.FORBIDDEN)
    if _wants_djangos(request):
        return csrf.csrf_failure(request, reason)
    return _answer(request, HTTPStatus.FORBIDDEN, f"{reason} Send the X-CSRFToken header.")


def too_many_attempts(
    request: HttpRequest,
    response: HttpResponse | None = None,
    credentials: dict[str, object] | None = None,
) -> HttpResponse:
    """django-axes' AXES_LOCKOUT_CALLABLE: 429, whether or not the password was right."""
    seconds = math.ceil(settings.KVPLANE_LOGIN_LOCK_SECONDS)
    minutes = math.ceil(seconds / 60)
    answer = _answer(
        request,
        HTTPStatus.TOO_MANY_REQUESTS,
        f"Too many logins with this name failed from this address; wait for up to {minutes} "
        f"minute{'' if minutes == 1 else 's'}, or have an admin run `manage.py axes_reset`.",
    )
    answer["Retry-After"] = str(seconds)
    return answer
