"""The channel layer: whether events get through."""

import asyncio
import time
from typing import Any

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection
from redis.exceptions import RedisError

from controlplane.launcher.checkup.finding import Finding, bad, ok, warn

AREA = "channel layer"
_SECONDS = 5.0


def check_channel_layer() -> Finding:
    """Whether a message that is sent arrives."""
    layer = get_channel_layer()
    kind = "redis" if settings.REDIS_URL else "memory"
    try:
        seconds = async_to_sync(_round_trip)(layer)
    except (OSError, RedisError, ChannelFull) as error:
        return bad(
            AREA,
            f"{kind}: no message came through: {str(error) or type(error).__name__}",
            "Start Redis, or correct REDIS_URL.",
        )
    if not settings.REDIS_URL and connection.vendor == "postgresql":
        return warn(
            AREA,
            "it is in memory, so that a process hears of another's events only from the database",
            "Set REDIS_URL if several processes serve this database.",
        )
    return ok(AREA, f"{kind}: a message takes {seconds * 1000:.0f} ms")


async def _round_trip(layer: Any) -> float:
    started = time.perf_counter()
    async with asyncio.timeout(_SECONDS):
        channel = await layer.new_channel("doctor.")
        await layer.send(channel, {"type": "doctor.ping"})
        await layer.receive(channel)
    return time.perf_counter() - started
