"""What a caller can say to the control plane beyond the documented call."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from controlplane.operations.effects import CONF_UPDATE, Wishes, check_wishes
from engine.contract import ContractError, Endpoint, Group, parse_int

EXPECTED_PARAMETER = "expected_revision"
_IN_PARAMETER = "expires_in_s"
_AT_PARAMETER = "expires_at"
WISH_PARAMETERS = frozenset({EXPECTED_PARAMETER, _IN_PARAMETER, _AT_PARAMETER})
"""Parameters that are not passed on to the agent."""
_IF_MATCH = "If-Match"
EXPIRES_IN = "X-KVPlane-Expires-In"
EXPIRES_AT = "X-KVPlane-Expires-At"
_MAX_REVISION = (1 << 31) - 1
_MAX_SECONDS = 366 * 86_400
_IN_SECONDS = "Seconds after which the control plane reverts the change."
_AT_A_MOMENT = "The moment, in ISO 8601, at which the control plane reverts the change."
_MODES = (Group.FREEZE, Group.HOT_CACHE, Group.BYPASS)


@dataclass(frozen=True)
class WishParameter:
    """A wish as the OpenAPI document describes it."""

    name: str
    type: type
    place: Literal["query", "header"]
    description: str
    same_as: str = ""
    """The parameter that says the same, of which this is another spelling."""


def wishes_for(endpoint: Endpoint) -> list[WishParameter]:
    """The wishes that go with an endpoint."""
    if endpoint.action == CONF_UPDATE:
        return [
            WishParameter(
                EXPECTED_PARAMETER,
                int,
                OpenApiParameter.QUERY,
                "The revision that the change builds on; 409 if another one is active.",
            ),
            WishParameter(
                _IF_MATCH,
                str,
                OpenApiParameter.HEADER,
                'The same as an entity tag, such as "5".',
                EXPECTED_PARAMETER,
            ),
        ]
    if endpoint.group in _MODES:
        return [
            WishParameter(_IN_PARAMETER, float, OpenApiParameter.QUERY, _IN_SECONDS, EXPIRES_IN),
            WishParameter(
                _AT_PARAMETER, datetime, OpenApiParameter.QUERY, _AT_A_MOMENT, EXPIRES_AT
            ),
            WishParameter(EXPIRES_IN, float, OpenApiParameter.HEADER, _IN_SECONDS),
            # Not of the format date-time, which generated clients do not put into headers.
            WishParameter(EXPIRES_AT, str, OpenApiParameter.HEADER, _AT_A_MOMENT),
        ]
    return []


def wishes_of(request: Request, endpoint: Endpoint) -> Wishes:
    """What the caller wishes. Raises ContractError (400) for what cannot be read or
    does not go with the endpoint."""
    wishes = Wishes(_expected_revision(request), _expiry(request))
    check_wishes(endpoint, wishes)
    return wishes


def _expected_revision(request: Request) -> int | None:
    text = request.query_params.get(EXPECTED_PARAMETER)
    tag = request.headers.get(_IF_MATCH, "").strip()
    given = {_revision_number(EXPECTED_PARAMETER, text.strip())} if text is not None else set()
    if tag and tag != "*":
        given.add(_revision_number(_IF_MATCH, tag.removeprefix("W/").strip('"')))
    if len(given) > 1:
        raise _bad(f"'{EXPECTED_PARAMETER}' and '{_IF_MATCH}' name two revisions; send one")
    return given.pop() if given else None


def _revision_number(name: str, text: str) -> int:
    return parse_int(name, text, minimum=0, maximum=_MAX_REVISION)


def _expiry(request: Request) -> datetime | None:
    places = (
        (_IN_PARAMETER, request.query_params, _after),
        (_AT_PARAMETER, request.query_params, _at),
        (EXPIRES_IN, request.headers, _after),
        (EXPIRES_AT, request.headers, _at),
    )
    given = [(name, str(where[name]), read) for name, where, read in places if name in where]
    if len(given) > 1:
        named = [f"'{name}'" for name, _, _ in given]
        raise _bad(f"send {' or '.join(named)}, not both")
    if not given:
        return None
    ((name, text, read),) = given
    return read(name, text.strip())


def _after(name: str, text: str) -> datetime:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MAX_SECONDS:
        raise _bad(f"'{name}' must be seconds above 0, at most {_MAX_SECONDS}")
    return timezone.now() + timedelta(seconds=seconds)


def _at(name: str, text: str) -> datetime:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise _bad(f"'{name}' must be a date and time, such as 2026-01-31T12:00:00Z")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment.year > 9998 or moment > timezone.now() + timedelta(seconds=_MAX_SECONDS):
        raise _bad(f"'{name}' must be within a year from now")
    return moment


def _bad(why: str) -> ContractError:
    return ContractError(400, "Invalid parameter", f"{why[0].upper()}{why[1:]}.")
