"""The ASGI application: HTTP on a thread pool, WebSockets in the event loop.

HTTP goes through Django's WSGI handler: Django's own ASGI handler makes a
thread and a database connection for every request, at less than half the speed.
"""

import asyncio
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

from a2wsgi import WSGIMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.wsgi import get_wsgi_application

_wsgi = WSGIMiddleware(get_wsgi_application(), workers=settings.KVPLANE_HTTP_THREADS)

from controlplane.operations.events import bind_loop
