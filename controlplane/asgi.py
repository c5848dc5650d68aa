"""The ASGI application: HTTP on a thread pool, WebSockets in the event loop.

HTTP goes through Django's WSGI handler: Django's own ASGI handler makes a
thread and a database connection for every request, at less than half the speed.
"""

import asyncio
from typing import cast

from channels.routing import ProtocolTypeRouter
from django.conf import settings

from controlplane.health import with_health
from controlplane.wsgi import application as wsgi_application
from controlplane.wsgi_bridge import Receive, Scope, Send, WSGIApp, WSGIBridge

# django-stubs describes WSGI in types of its own.
_http = WSGIBridge(cast(WSGIApp, wsgi_application), settings.KVPLANE_HTTP_THREADS)


async def watch(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket."""
    # Not before the WSGI application has set Django up.
    from controlplane.live.routing import application as router

    await router(scope, receive, send)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and stop with the server: the sending of events, the control loop, the
    keeping of the audit log."""
    from controlplane.audit.events import bind_loop
    from controlplane.audit.keeper import AuditKeeper
    from controlplane.reconcile.embedded import EmbeddedController

    controller, keeper = EmbeddedController(), AuditKeeper()
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            bind_loop(asyncio.get_running_loop())
            keeper.start()
            controller.start()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await asyncio.to_thread(controller.stop)
            # After whatever else may be put on record.
            await asyncio.to_thread(keeper.stop)
            await send({"type": "lifespan.shutdown.complete"})
            return


application = ProtocolTypeRouter(
    {
        "http": with_health(_http),
        "websocket": watch,
        "lifespan": lifespan,
    }
)
