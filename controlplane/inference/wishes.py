"""What a caller can say to the control plane beyond the documented call."""

import math
from collections.abc import Callable
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
WISH_PARAMETERS = frozenset({EXPECTED_PARAMETER})
"""Parameters that are not passed on to the agent."""
IF_MATCH = "If-Match"
EXPIRES_IN = "X-KVPlane-Expires-In"
EXPIRES_AT = "X-KVPlane-Expires-At"
_MAX_REVISION = (1 << 31) - 1
_MAX_SECONDS = 366 * 86_400
_MODES = (Group.FREEZE, Group.HOT_CACHE, Group.BYPASS)


@dataclass(frozen=True)
class WishParameter:
    """A wish as the OpenAPI document describes it."""

    name: str
    type: type
    place: Literal["query", "header"]
    description: str


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
                IF_MATCH, str, OpenApiParameter.HEADER, 'The same as an entity tag, such as "5".'
            ),
        ]
    if endpoint.group in _MODES:
        return [
            WishParameter(
                EXPIRES_IN,
                float,
                OpenApiParameter.HEADER,
                "Seconds after which the control plane reverts the change.",
            ),
            WishParameter(
                EXPIRES_AT,
                datetime,
                OpenApiParameter.HEADER,
                "The moment at which the control plane reverts the change.",
            ),
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
    tag = request.headers.get(IF_MATCH, "").strip()
    given = {_revision_number(EXPECTED_PARAMETER, text.strip())} if text is not None else set()
    if tag and tag != "*":
        given.add(_revision_number(IF_MATCH, tag.removeprefix("W/").strip('"')))
    if len(given) > 1:
        raise _bad(f"'{EXPECTED_PARAMETER}' and '{IF_MATCH}' name two revisions; send one")
    return given.pop() if given else None


def _revision_number(name: str, text: str) -> int:
    return parse_int(name, text, minimum=0, maximum=_MAX_REVISION)


def _expiry(request: Request) -> datetime | None:
    given = [name for name in _READERS if name in request.headers]
    if len(given) > 1:
        raise _bad(f"send '{EXPIRES_IN}' or '{EXPIRES_AT}', not both")
    if not given:
        return None
    (name,) = given
    return _READERS[name](request.headers[name].strip())


def _after(text: str) -> datetime:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MAX_SECONDS:
        raise _bad(f"'{EXPIRES_IN}' must be seconds above 0, at most {_MAX_SECONDS}")
    return timezone.now() + timedelta(seconds=seconds)


def _at(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise _bad(f"'{EXPIRES_AT}' must be a date and time, such as 2026-01-31T12:00:00Z")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment.year > 9998 or moment > timezone.now() + timedelta(seconds=_MAX_SECONDS):
        raise _bad(f"'{EXPIRES_AT}' must be within a year from now")
    return moment


_READERS: dict[str, Callable[[str], datetime]] = {EXPIRES_IN: _after, EXPIRES_AT: _at}


def _bad(why: str) -> ContractError:
    return ContractError(400, "Invalid parameter", f"{why[0].upper()}{why[1:]}.")
