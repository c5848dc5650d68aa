"""Telling whoever watches that an operation finished.

Watchers are channel-layer consumers. They live in the event loop of the ASGI
server while operations finish in worker threads, so the server's loop is bound
here when it starts and does the sending: nothing waits for it.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Future

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer

logger = logging.getLogger(__name__)
GROUP = "events"


class _Bound:
    loop: asyncio.AbstractEventLoop | None = None


def bind_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Send events from that running loop; the ASGI server calls this once."""
    _Bound.loop = loop


def publish(event: Mapping[str, object]) -> None:
    """Send `event` to the group `events`. Costs next to nothing when nobody in
    this process can be listening. May raise what the channel layer raises."""
    layer = get_channel_layer()
    if layer is None:
        return
    if isinstance(layer, InMemoryChannelLayer) and not layer.groups.get(GROUP):
        return
    message = {"type": "event", "event": dict(event)}
    if _Bound.loop is not None and _Bound.loop.is_running():
        sending = asyncio.run_coroutine_threadsafe(layer.group_send(GROUP, message), _Bound.loop)
        sending.add_done_callback(_log_failure)
        return
    async_to_sync(layer.group_send)(GROUP, message)


def _log_failure(sending: "Future[None]") -> None:
    if not sending.cancelled() and (error := sending.exception()) is not None:
        logger.error("an event could not be sent: %r", error)
