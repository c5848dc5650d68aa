"""The ASGI application: HTTP on a thread pool, WebSockets in the event loop.

HTTP goes through Django's WSGI handler: Django's own ASGI handler makes a
thread and a database connection for every request, at less than half the speed.
"""

import asyncio
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings

from controlplane.wsgi import application as wsgi_application
from controlplane.wsgi_bridge import App, Receive, Scope, Send, fit_for_wsgi

# a2wsgi and django-stubs each describe WSGI in types of their own.
_http = cast(
    App, WSGIMiddleware(cast(Any, wsgi_application), workers=settings.KVPLANE_HTTP_THREADS)
)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and stop with the server."""
    from controlplane.operations.events import bind_loop

    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            bind_loop(asyncio.get_running_loop())
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


application = ProtocolTypeRouter(
    {
        "http": fit_for_wsgi(_http),
        "websocket": AllowedHostsOriginValidator(URLRouter([])),
        "lifespan": lifespan,
    }
)
