"""Watchers that were refused, on record as any other call that is."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from controlplane.accounts.actors import user_actor
from controlplane.audit.services import record_denial
from controlplane.live.credentials import Refused

_WEBSOCKET_CODES = 4000
"""What is added to an HTTP status to make a closing code."""


def record_refusal(scope: Mapping[str, Any], refused: Refused) -> None:
    """Put it on record; a failure to is logged only."""
    record_denial(
        actor=user_actor(_as_request(scope)),
        request_id=uuid.uuid4().hex,
        request={"method": "WEBSOCKET", "path": str(scope["path"]), "why": str(refused)},
        status=refused.code - _WEBSOCKET_CODES,
    )


def _as_request(scope: Mapping[str, Any]) -> HttpRequest:
    """What of the handshake tells who calls."""
    request = HttpRequest()
    address, *_ = scope.get("client") or ("",)
    request.META["REMOTE_ADDR"] = address
    for name, value in scope["headers"]:
        request.META[f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"] = value.decode(
            "latin-1"
        )
    return request
