"""One watcher on its own, over a table that the test holds in its hands."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from channels.layers import get_channel_layer
from django.db import InterfaceError
from django.utils import timezone

from controlplane.audit.events import GROUP
from controlplane.audit.models import AuditEntry, Stage
from controlplane.live import consumers
from controlplane.live.consumers import BAD_REQUEST, TRY_AGAIN, EventsConsumer
from controlplane.live.credentials import UNAUTHENTICATED, Refused

# The threads that read look after connections that an earlier test may have left them.
pytestmark = pytest.mark.django_db


class Table:
    """Stands in for the queries. Entries of the kind `other.kind` are filtered out."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.pages = 0
        self.refused: list[Refused] = []

    def add(self, *kinds: str) -> None:
        for kind in kinds:
            self.entries.append(
                AuditEntry(
                    id=len(self.entries) + 1,
                    action=kind,
                    stage=Stage.EVENT,
                    created_at=timezone.now(),
                    request_id="r",
                    operation_id=None,
                    actor_kind="command",
                    actor_name="tests",
                    agent="",
                    reason="",
                    outcome="succeeded",
                    status=None,
                )
            )

    def latest(self) -> int:
        return len(self.entries)

    def after(self, cursor: int, until: int, **filters: object) -> list[AuditEntry]:
        self.pages += 1
        return [entry for entry in self.entries[cursor:until] if entry.action != "other.kind"]


@pytest.fixture
def table(monkeypatch, settings) -> Table:
    settings.KVPLANE_EVENTS_PATROL_SECONDS = 60.0
    table = Table()
    monkeypatch.setattr(consumers, "check", lambda headers: None)
    monkeypatch.setattr(consumers, "latest_cursor", table.latest)
    monkeypatch.setattr(consumers, "events_after", table.after)
    monkeypatch.setattr(consumers, "record_refusal", lambda scope, why: table.refused.append(why))
    return table


def watching(
    story: Callable[[ApplicationCommunicator], Coroutine[Any, Any, None]], query: str = ""
) -> None:
    """Run the story with one watcher that has connected."""
    scope = {"type": "websocket", "path": "/ws/events/", "headers": []}

    async def run() -> None:
        watcher = ApplicationCommunicator(
            EventsConsumer.as_asgi(), {**scope, "query_string": query.encode()}
        )
        await watcher.send_input({"type": "websocket.connect"})
        assert (await watcher.receive_output(timeout=10))["type"] == "websocket.accept"
        try:
            await story(watcher)
        finally:
            await watcher.send_input({"type": "websocket.disconnect", "code": 1000})
            await watcher.wait(timeout=10)

    async_to_sync(run)()


async def push() -> None:
    await get_channel_layer().group_send(GROUP, {"type": "event"})


async def next_of(watcher: ApplicationCommunicator, kind: str) -> dict[str, Any]:
    while True:
        message = json.loads((await watcher.receive_output(timeout=10))["text"])
        if message["kind"] == kind:
            return message


async def code_at_the_end(watcher: ApplicationCommunicator) -> int:
    while True:
        message = await watcher.receive_output(timeout=10)
        if message["type"] == "websocket.close":
            return message["code"]


def test_watcher__replays_more_than_a_page__gets_all_in_order(table, monkeypatch):
    monkeypatch.setattr(consumers, "_PAGE", 10)
    table.add(*["thing.done"] * 35)

    async def story(watcher: ApplicationCommunicator) -> None:
        seen = [(await next_of(watcher, "thing.done"))["cursor"] for _ in range(35)]
        assert seen == list(range(1, 36))

    watching(story, "cursor=0")

    assert table.pages == 4


def test_watcher__credentials_end_during_a_replay__is_closed_after_that_page(
    table, monkeypatch, settings
):
    settings.KVPLANE_EVENTS_RECHECK_SECONDS = 1e-9
    monkeypatch.setattr(consumers, "_PAGE", 10)
    table.add(*["thing.done"] * 1000)

    def revoked_after_a_page(headers: object) -> None:
        if table.pages:
            raise Refused(UNAUTHENTICATED, "The API token is unknown, revoked or expired.")

    monkeypatch.setattr(consumers, "check", revoked_after_a_page)

    async def story(watcher: ApplicationCommunicator) -> None:
        assert await code_at_the_end(watcher) == UNAUTHENTICATED

    watching(story, "cursor=0")

    assert table.pages == 1
    assert [refused.code for refused in table.refused] == [UNAUTHENTICATED]


def test_watcher__never_quiet_and_nothing_for_it__is_told_how_far_it_came(table, settings):
    settings.KVPLANE_EVENTS_PATROL_SECONDS = 0.2

    async def story(watcher: ApplicationCommunicator) -> None:
        await next_of(watcher, "hello")

        async def go_on_and_on() -> None:
            while True:
                table.add("other.kind")
                await push()
                # How often it is pushed, not what is waited for.
                await asyncio.sleep(0.01)

        busy = asyncio.create_task(go_on_and_on())
        try:
            told = await next_of(watcher, "cursor")
        finally:
            busy.cancel()
        assert 0 < told["cursor"] <= table.latest()

    watching(story)


def test_watcher__nothing_happens__hears_that_the_connection_is_alive(table, settings):
    settings.KVPLANE_EVENTS_PATROL_SECONDS = 0.1
    table.add("thing.done")

    async def story(watcher: ApplicationCommunicator) -> None:
        await next_of(watcher, "hello")
        for _ in range(3):
            assert (await next_of(watcher, "cursor"))["cursor"] == 1

    watching(story)


def test_watcher__patrol_is_rare__hears_within_seconds_all_the_same(table, settings, monkeypatch):
    settings.KVPLANE_EVENTS_PATROL_SECONDS = 3600.0
    monkeypatch.setattr(consumers, "_MAX_SILENCE_SECONDS", 0.1)

    async def story(watcher: ApplicationCommunicator) -> None:
        hello = await next_of(watcher, "hello")
        assert (await next_of(watcher, "cursor"))["cursor"] == hello["cursor"]

    watching(story)


def test_watcher__hints_while_it_reads__are_one_more_read(table):
    async def story(watcher: ApplicationCommunicator) -> None:
        await next_of(watcher, "hello")
        table.add("thing.done")
        for _ in range(50):
            await push()
        await next_of(watcher, "thing.done")
        table.add("thing.last")
        await push()
        await next_of(watcher, "thing.last")

    watching(story)

    assert table.pages == 2


def test_watcher__hint_is_lost__event_comes_with_the_patrol(table, settings):
    settings.KVPLANE_EVENTS_PATROL_SECONDS = 0.1

    async def story(watcher: ApplicationCommunicator) -> None:
        await next_of(watcher, "hello")
        table.add("thing.done")
        assert (await next_of(watcher, "thing.done"))["cursor"] == 1

    watching(story)


@pytest.mark.parametrize("broken", ["check", "latest_cursor"])
def test_watcher__database_fails__is_sent_away_to_try_again(table, monkeypatch, broken):
    def fail(*arguments: object) -> None:
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(consumers, broken, fail)

    async def story(watcher: ApplicationCommunicator) -> None:
        assert await code_at_the_end(watcher) == TRY_AGAIN

    watching(story)


def test_watcher__talks_too_much__gets_nothing_after_the_end(table):
    async def story(watcher: ApplicationCommunicator) -> None:
        await next_of(watcher, "hello")
        await watcher.send_input({"type": "websocket.receive", "text": "x" * 1025})
        assert await code_at_the_end(watcher) == BAD_REQUEST
        table.add("thing.done")
        await push()
        assert await watcher.receive_nothing(timeout=0.3)

    watching(story)
