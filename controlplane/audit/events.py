"""Telling whoever watches what happened.

An event is an audit entry that says that something happened: it was written in the
transaction of the change, so none is missed, and its id is the cursor from which a
watcher goes on. What is sent is a hint that there is something to read.

Watchers are channel-layer consumers. They live in the event loop of the ASGI server
while changes are made in worker threads, so the server's loop is bound here when it
starts and does the sending: nothing waits for it.
"""

import asyncio
import logging
from collections.abc import Collection
from concurrent.futures import Future

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db.models import Q, QuerySet

from controlplane.audit.models import AuditEntry, Stage

logger = logging.getLogger(__name__)
GROUP = "events"
_DENIED = "denied"
_READ = "request.read"


class _Bound:
    loop: asyncio.AbstractEventLoop | None = None


def bind_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Send events from that running loop; the ASGI server calls this once."""
    _Bound.loop = loop


def is_event(entry: AuditEntry) -> bool:
    """Whether the entry says that something happened: not what was only asked for, what
    was denied, or what was only read; whoever looks because of an event would make
    another one."""
    return bool(
        entry.stage != Stage.REQUESTED and entry.outcome != _DENIED and entry.action != _READ
    )


def event_of(entry: AuditEntry) -> dict[str, object]:
    """The event as watchers get it, JSON-ready."""
    return {
        "kind": entry.action,
        "cursor": entry.pk,
        "at": entry.created_at.isoformat(),
        "stage": str(entry.stage),
        "outcome": entry.outcome,
        "status": entry.status,
        "agent": entry.agent,
        "operation": str(entry.operation_id) if entry.operation_id else None,
        "request_id": entry.request_id,
        "actor": entry.actor_name,
        "actor_kind": entry.actor_kind,
        "reason": entry.reason,
    }


def latest_cursor() -> int:
    """The cursor after everything that is on record; 0 if nothing is."""
    return AuditEntry.objects.order_by("-id").values_list("id", flat=True).first() or 0


def events_after(
    cursor: int, until: int, *, kinds: Collection[str] = (), agent: str = ""
) -> QuerySet[AuditEntry]:
    """Events after one cursor and up to another, in order. `kinds` are actions, or
    begin one as `freeze.*` does; none means all, as does an empty agent."""
    # The document can be long, and what an event tells is in columns.
    found = AuditEntry.objects.filter(id__gt=cursor, id__lte=until)
    found = found.defer("document", "previous", "mac", "key_id")
    found = found.exclude(stage=Stage.REQUESTED).exclude(outcome=_DENIED)
    found = found.exclude(action=_READ)
    if agent:
        found = found.filter(agent=agent)
    wanted = Q()
    for kind in kinds:
        if kind.endswith("*"):
            wanted |= Q(action__startswith=kind.removesuffix("*"))
        else:
            wanted |= Q(action=kind)
    return found.filter(wanted).order_by("id")


def publish(entry: AuditEntry) -> None:
    """Send the event to the group `events`. Costs next to nothing when nobody in this
    process can be listening. May raise what the channel layer raises."""
    layer = get_channel_layer()
    if layer is None:
        return
    if isinstance(layer, InMemoryChannelLayer) and not layer.groups.get(GROUP):
        return
    message = {"type": "event", "event": event_of(entry)}
    if _Bound.loop is not None and _Bound.loop.is_running():
        sending = asyncio.run_coroutine_threadsafe(layer.group_send(GROUP, message), _Bound.loop)
        sending.add_done_callback(_log_failure)
        return
    async_to_sync(layer.group_send)(GROUP, message)


def _log_failure(sending: "Future[None]") -> None:
    if not sending.cancelled() and (error := sending.exception()) is not None:
        logger.error("an event could not be sent: %r", error)
