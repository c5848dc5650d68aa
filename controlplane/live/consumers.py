"""`/ws/events/`: what happens, as it happens, and what happened since a cursor."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error

from controlplane.audit.events import GROUP, event_of, events_after, latest_cursor
from controlplane.audit.models import AuditEntry
from controlplane.live.credentials import Refused, check
from controlplane.live.refusals import record_refusal
from engine.contract import ContractError, parse_int, parse_query

logger = logging.getLogger(__name__)
BAD_REQUEST = 4400
TRY_AGAIN = 1013
_PAGE = 500
_MAX_CURSOR = (1 << 63) - 1
_MAX_KINDS = 50
_MAX_RECEIVED = 1024
# A watcher that hears nothing for three times as long knows that its connection is dead.
_MAX_SILENCE_SECONDS = 5.0
_READERS = 4
_Read = TypeVar("_Read")
# Few, because each keeps a connection to the database; more than one, so that a long
# query of one watcher does not stop the others.
_readers = ThreadPoolExecutor(_READERS, thread_name_prefix="events")


@dataclass(frozen=True)
class Watching:
    """What a watcher wants. `cursor` None: from now on."""

    cursor: int | None
    kinds: tuple[str, ...]
    agent: str


def read_watching(query: bytes) -> Watching:
    """The query string. Raises ContractError (400) naming the parameter."""
    given = parse_query(query)
    kinds = tuple(kind for kind in given.get("kind", ()) if kind)
    if len(kinds) > _MAX_KINDS:
        raise ContractError(400, "Invalid parameter", f"'kind': at most {_MAX_KINDS} of them.")
    cursor = given.get("cursor")
    return Watching(
        cursor=None
        if not cursor
        else parse_int("cursor", cursor[-1], minimum=0, maximum=_MAX_CURSOR),
        kinds=kinds,
        agent=(given.get("agent") or [""])[-1].strip(),
    )


def _patrol_seconds() -> float:
    wanted: float = settings.KVPLANE_EVENTS_PATROL_SECONDS
    return min(wanted, _MAX_SILENCE_SECONDS)


async def _read(query: Callable[..., _Read], *arguments: object) -> _Read:
    """What the query finds. Raises django.db.Error."""
    in_thread = database_sync_to_async(query, thread_sensitive=False, executor=_readers)
    found: _Read = await in_thread(*arguments)
    return found


class EventsConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One watcher. What is pushed to it is only a hint: it reads the table from its
    cursor on, a page at a time, and the next page when the last one is sent."""

    groups = [GROUP]

    async def connect(self) -> None:
        """Begin."""
        self._hint = asyncio.Event()
        self._headers: Mapping[bytes, bytes] = dict(self.scope["headers"])
        # Before the first answer: a browser cannot read the reason of a refusal.
        await self.accept()
        self._delivering = asyncio.create_task(self._deliver())

    async def disconnect(self, code: int) -> None:
        """Stop reading."""
        self._delivering.cancel()

    async def event(self, message: Mapping[str, Any]) -> None:
        """Something happened."""
        self._hint.set()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """There is nothing to say to this endpoint."""
        if len(text_data or bytes_data or "") > _MAX_RECEIVED:
            # First, because nothing may be sent after the end.
            self._delivering.cancel()
            await self.close(code=BAD_REQUEST, reason="too long")

    async def _deliver(self) -> None:
        # What a watcher that has left does not get.
        with suppress(OSError):
            try:
                await self._admit()
                await self._go_on()
            except Refused as error:
                await _read(record_refusal, self.scope, error)
                await self.close(code=error.code, reason=str(error))
            except ContractError as error:
                await self._say({"kind": "error", **error.body()})
                await self.close(code=BAD_REQUEST, reason=error.error)
            except Error:
                logger.exception("a watcher was sent away because the database failed")
                await self.close(code=TRY_AGAIN, reason="the database failed; try again")

    async def _admit(self) -> None:
        """Raises Refused, ContractError and django.db.Error."""
        await _read(check, self._headers)
        self._checked_at = time.monotonic()
        self._watching = read_watching(self.scope["query_string"])

    async def _go_on(self) -> None:
        """Raises Refused when the credentials are no longer good, and django.db.Error."""
        start = self._watching.cursor
        self._cursor = await _read(latest_cursor) if start is None else start
        await self._say({"kind": "hello", "cursor": self._cursor})
        self._told_at = time.monotonic()
        while True:
            self._hint.clear()
            await self._check_again()
            await self._drain()
            await self._tell_cursor()
            # A hint may get lost; then this is how late it is.
            with suppress(TimeoutError):
                async with asyncio.timeout(_patrol_seconds()):
                    await self._hint.wait()

    async def _drain(self) -> None:
        """Send everything after the cursor."""
        until = await _read(latest_cursor)
        while self._cursor < until:
            page = await _read(self._page, until)
            for event in page:
                await self._say(event_of(event))
                self._cursor = event.pk
                self._told_at = time.monotonic()
            if len(page) < _PAGE:
                self._cursor = until
            # A long replay to a slow reader must not outlive the credentials.
            await self._check_again()

    def _page(self, until: int) -> list[AuditEntry]:
        watching = self._watching
        found = events_after(self._cursor, until, kinds=watching.kinds, agent=watching.agent)
        return list(found[:_PAGE])

    async def _check_again(self) -> None:
        if time.monotonic() - self._checked_at >= settings.KVPLANE_EVENTS_RECHECK_SECONDS:
            await _read(check, self._headers)
            self._checked_at = time.monotonic()

    async def _tell_cursor(self) -> None:
        """What was not for this watcher need not be gone through again; and that the
        connection is alive is told by nothing else when nothing happens."""
        if time.monotonic() - self._told_at >= _patrol_seconds():
            await self._say({"kind": "cursor", "cursor": self._cursor})
            self._told_at = time.monotonic()

    async def _say(self, document: Mapping[str, object]) -> None:
        await self.send(text_data=json.dumps(document))
