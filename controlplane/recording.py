"""Makes sure that what a request did, or was refused, is on record.

Changes record themselves, in their own transactions. Here is what no change could
record: calls that were denied, calls that failed before anything was changed, calls
that could have changed something and did not, and reads that the policy wants.
"""

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from controlplane.accounts.actors import request_actor
from controlplane.audit import services as audit
from controlplane.audit import trail
from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import ReadPolicy, policy_for_all
from controlplane.audit.redaction import hide_named
from controlplane.audit.trail import Trail
from controlplane.backlog import Backlog
from controlplane.middleware import request_id_of

logger = logging.getLogger(__name__)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_OWN_RESOURCES = "/api/v1/"
_MAX_PATH = 500
_PATIENCE_MS = 5_000
_late = Backlog("record-refusal", most=100, stop_s=5.0)
# Everything else that a caller sends along is left out: who knows what it holds.
_KEPT_HEADERS = (
    "Accept",
    "Content-Length",
    "Content-Type",
    "If-Match",
    "Origin",
    "X-KVPlane-Agent",
    "X-KVPlane-Engine",
    "X-KVPlane-Expires-At",
    "X-KVPlane-Expires-In",
)


class RecordingMiddleware:
    """Looks at each answer on its way out."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request. A read that is to be on record and cannot be is not
        answered (503)."""
        started = time.perf_counter()
        with trail.following() as followed:
            response = self._get_response(request)
            duration_ms = (time.perf_counter() - started) * 1000
            status = response.status_code
            if status in _DENIED:
                _record_refusal(request, followed, status, duration_ms, "access.denied", "denied")
            elif request.method not in _SAFE and not followed.reads:
                _record_attempt(request, followed, status, duration_ms)
            elif (policy := _policy_of(request, followed)) is not ReadPolicy.OFF:
                return _record_read(request, response, followed, policy, duration_ms)
        return response


def _record_attempt(request: HttpRequest, followed: Trail, status: int, duration_ms: float) -> None:
    if status >= HTTPStatus.BAD_REQUEST:
        _record_refusal(request, followed, status, duration_ms, "request.fail", "failed")
    elif not followed.entries:
        _record_refusal(request, followed, status, duration_ms, "request.make", "unchanged")


def _record_refusal(
    request: HttpRequest,
    followed: Trail,
    status: int,
    duration_ms: float,
    action: str,
    outcome: str,
) -> None:
    """Unless it is on record already. A failure to record is logged only: nothing was
    changed."""
    if _is_on_record(followed):
        return
    record = partial(
        audit.record_denial,
        action=action,
        actor=request_actor(request),
        request_id=request_id_of(request),
        agent=followed.agent,
        engine=followed.engine,
        request=_describe(request, followed),
        status=status,
        duration_ms=duration_ms,
        outcome=outcome,
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE and duration_ms >= _PATIENCE_MS:
        # The caller has waited for a database that is held up, and would wait again.
        if not _late.add(record):
            audit.count_denial(action)
    else:
        record()


def _is_on_record(followed: Trail) -> bool:
    if not followed.entries:
        return False
    try:
        # What was recorded in a transaction that failed is not.
        return AuditEntry.objects.filter(pk__in=followed.entries).exists()
    except DatabaseError:
        return False


def _policy_of(request: HttpRequest, followed: Trail) -> ReadPolicy:
    policies = settings.KVPLANE_AUDIT_READS
    if not policies:
        return ReadPolicy.OFF
    return policy_for_all((_group_of(request, followed), *followed.reads_also), policies)


def _group_of(request: HttpRequest, followed: Trail) -> str:
    if followed.reads or not request.path.startswith(_OWN_RESOURCES):
        return followed.reads
    return request.path.removeprefix(_OWN_RESOURCES).partition("/")[0]


def _record_read(
    request: HttpRequest,
    response: HttpResponseBase,
    followed: Trail,
    policy: ReadPolicy,
    duration_ms: float,
) -> HttpResponseBase:
    described = _describe(request, followed)
    answer = None
    if policy is ReadPolicy.FULL:
        described["query"] = request.GET.dict()
        told = followed.told[0] if followed.told else _answer_of(response)
        answer = hide_named(told, followed.secrets)
    try:
        audit.record(
            action="request.read",
            actor=request_actor(request),
            request_id=request_id_of(request),
            agent=followed.agent,
            engine=followed.engine,
            request=described,
            answer=answer,
            outcome="succeeded" if response.status_code < HTTPStatus.BAD_REQUEST else "failed",
            status=response.status_code,
            duration_ms=duration_ms,
        )
    except DatabaseError:
        logger.exception("read %s could not be recorded", request_id_of(request))
        response.close()
        return JsonResponse(
            {
                "error": "Not recorded",
                "message": "Reads of this are kept on record, and this one could not be; nothing "
                "is told. Try again.",
            },
            status=HTTPStatus.SERVICE_UNAVAILABLE,
        )
    return response


def _describe(request: HttpRequest, followed: Trail) -> dict[str, object]:
    described: dict[str, object] = {
        "method": request.method or "",
        "path": request.path[:_MAX_PATH],
        "headers": {
            name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers
        },
    }
    if followed.action:
        described["action"] = followed.action
    return described


def _answer_of(response: HttpResponseBase) -> object:
    if not isinstance(response, HttpResponse):
        return {"left_out": "a stream"}
    try:
        return json.loads(response.content)
    except ValueError:
        return {"left_out": f"{len(response.content)} bytes that are not JSON"}
