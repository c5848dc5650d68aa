"""`/ws/events/`: what happens, as it happens, and what happened since a cursor."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError

from controlplane.audit.events import GROUP, event_of, events_after, latest_cursor
from controlplane.audit.models import AuditEntry
from controlplane.live.credentials import Refused, check
from engine.contract import ContractError, parse_int, parse_query

BAD_REQUEST = 4400
TRY_AGAIN = 1013
_PAGE = 500
_MAX_CURSOR = (1 << 63) - 1
_MAX_KINDS = 50
_MAX_RECEIVED = 1024


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


class EventsConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One watcher. What is pushed to it is only a hint: it reads the table from its
    cursor on, a page at a time, and the next page when the last one is sent."""

    groups = [GROUP]

    async def connect(self) -> None:
        """Admit the caller and begin."""
        self._delivering: asyncio.Task[None] | None = None
        self._hint = asyncio.Event()
        self._headers: Mapping[bytes, bytes] = dict(self.scope["headers"])
        # Before the first answer: a browser cannot read the reason of a refusal.
        await self.accept()
        try:
            await database_sync_to_async(check)(self._headers)
            self._watching = read_watching(self.scope["query_string"])
        except Refused as error:
            await self.close(code=error.code, reason=str(error))
            return
        except ContractError as error:
            await self._say({"kind": "error", **error.body()})
            await self.close(code=BAD_REQUEST, reason=error.error)
            return
        self._delivering = asyncio.create_task(self._deliver())

    async def disconnect(self, code: int) -> None:
        """Stop reading."""
        if self._delivering is not None:
            self._delivering.cancel()

    async def event(self, message: Mapping[str, Any]) -> None:
        """Something happened."""
        self._hint.set()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """There is nothing to say to this endpoint."""
        if len(text_data or bytes_data or "") > _MAX_RECEIVED:
            await self.close(code=BAD_REQUEST, reason="too long")

    async def _deliver(self) -> None:
        try:
            await self._go_on()
        except Refused as error:
            await self.close(code=error.code, reason=str(error))
        except DatabaseError:
            await self.close(code=TRY_AGAIN, reason="the database failed; try again")

    async def _go_on(self) -> None:
        """Raises Refused when the credentials are no longer good."""
        start = self._watching.cursor
        cursor = await database_sync_to_async(latest_cursor)() if start is None else start
        await self._say({"kind": "hello", "cursor": cursor})
        told, checked = cursor, time.monotonic()
        while True:
            self._hint.clear()
            cursor, told = await self._drain(cursor, told)
            if time.monotonic() - checked >= settings.KVPLANE_EVENTS_RECHECK_SECONDS:
                await database_sync_to_async(check)(self._headers)
                checked = time.monotonic()
            try:
                # A hint may get lost; then this is how late it is.
                async with asyncio.timeout(settings.KVPLANE_EVENTS_PATROL_SECONDS):
                    await self._hint.wait()
            except TimeoutError:
                if cursor > told:
                    # What was not for this watcher need not be gone through again.
                    await self._say({"kind": "cursor", "cursor": cursor})
                    told = cursor

    async def _drain(self, cursor: int, told: int) -> tuple[int, int]:
        """Send everything after the cursor; the cursor after it, and the last that the
        watcher was told."""
        until: int = await database_sync_to_async(latest_cursor)()
        while cursor < until:
            page = await database_sync_to_async(self._read)(cursor, until)
            for event in page:
                await self._say(event_of(event))
                cursor = told = event.pk
            if len(page) < _PAGE:
                break
        return max(cursor, until), told

    def _read(self, cursor: int, until: int) -> list[AuditEntry]:
        watching = self._watching
        found = events_after(cursor, until, kinds=watching.kinds, agent=watching.agent)
        return list(found[:_PAGE])

    async def _say(self, document: Mapping[str, object]) -> None:
        await self.send(text_data=json.dumps(document))
