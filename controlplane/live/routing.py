"""Which WebSocket is where."""

from typing import Any

from channels.routing import URLRouter
from django.urls import re_path

from controlplane.live.consumers import EventsConsumer
from controlplane.wsgi_bridge import Receive, Scope, Send

_NOT_FOUND = 4404


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Close a WebSocket at a path where there is none."""
    await receive()
    await send({"type": "websocket.close", "code": _NOT_FOUND})


# django-stubs knows views of HTTP only.
_ROUTES: list[tuple[str, Any]] = [(r"^ws/events/?$", EventsConsumer.as_asgi()), ("", refuse)]
application = URLRouter([re_path(route, consumer) for route, consumer in _ROUTES])
