"""Events: audit entries that say that something happened, sent once they are committed."""

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import connection, transaction

from controlplane.audit import appending, events, services
from controlplane.audit.events import GROUP, event_of, events_after, latest_cursor
from controlplane.audit.models import AuditEntry, Stage
from controlplane.operations.models import State
from controlplane.operations.services import Performed, perform
from engine.contract import endpoint
from tests.controlplane.conftest import ACTOR

DEADLINE_SECONDS = 30.0


def enable_freeze(agent) -> Performed:
    return perform(
        endpoint("enable_freeze"),
        [agent],
        query="",
        body=None,
        actor=ACTOR,
        reason="",
        request_id="req-1",
        timeout=5.0,
    )


@pytest.fixture(autouse=True)
def _any_action(monkeypatch) -> None:
    """What happened is of no interest here."""
    monkeypatch.setattr(services, "check_action", lambda action: None)


def happen(action: str = "thing.done", **given: object) -> AuditEntry:
    return services.record(action=action, actor=ACTOR, request_id="r", **given)


@pytest.fixture
def published(monkeypatch) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    monkeypatch.setattr(services, "publish", entries.append)
    return entries


@pytest.fixture
def channel(monkeypatch) -> Iterator[str]:
    """Somebody who listens, in a process whose server is not running."""
    monkeypatch.setattr(events._Bound, "loop", None)
    layer = get_channel_layer()
    async_to_sync(layer.flush)()
    name = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)(GROUP, name)
    yield name
    async_to_sync(layer.flush)()


@pytest.mark.django_db
def test_perform__event__goes_out_on_commit_and_not_before(
    agents, make_agent, published, django_capture_on_commit_callbacks
):
    agent = make_agent()

    with django_capture_on_commit_callbacks() as callbacks:
        performed = enable_freeze(agent)
    assert published == []
    for callback in callbacks:
        callback()

    (entry,) = published
    assert entry.operation_id == performed.operation.pk
    assert entry.outcome == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_perform__event_cannot_be_sent__call_succeeds(agents, make_agent, monkeypatch):
    agent = make_agent()
    tried = []

    def broken(entry):
        tried.append(entry)
        raise OSError("no redis")

    monkeypatch.setattr(services, "publish", broken)

    assert enable_freeze(agent).operation.state == State.SUCCEEDED
    assert len(tried) == 1


@pytest.mark.django_db(transaction=True)
def test_record__change_is_rolled_back__nothing_is_sent_or_found(published):
    before = latest_cursor()
    with pytest.raises(RuntimeError), transaction.atomic():
        happen()
        raise RuntimeError("the change failed")

    assert published == []
    assert list(events_after(before, before + 100)) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("action", "stage", "outcome"),
    [
        ("thing.done", Stage.REQUESTED, ""),
        ("thing.done", Stage.EVENT, "denied"),
        ("thing.done", "requested", ""),
        ("request.read", Stage.EVENT, "succeeded"),
    ],
)
def test_record__nothing_happened__nothing_is_sent(
    published, django_capture_on_commit_callbacks, action, stage, outcome
):
    with django_capture_on_commit_callbacks(execute=True):
        entry = happen(action, stage=stage, outcome=outcome)

    assert published == []
    assert list(events_after(0, entry.pk)) == []


@pytest.mark.django_db
def test_publish__nobody_listens__costs_no_query_and_builds_nothing(
    monkeypatch, django_assert_num_queries
):
    entry = happen()
    built = []
    monkeypatch.setattr(events, "event_of", built.append)

    with django_assert_num_queries(0):
        events.publish(entry)

    assert built == []


@pytest.mark.django_db(transaction=True)
def test_publish__somebody_listens__gets_one_typed_event(channel):
    entry = happen(agent="worker-0", reason="maintenance", outcome="succeeded", status=200)

    message = async_to_sync(get_channel_layer().receive)(channel)

    assert message == {
        "type": "event",
        "event": {
            "kind": "thing.done",
            "cursor": entry.pk,
            "at": entry.created_at.isoformat(),
            "stage": "event",
            "outcome": "succeeded",
            "status": 200,
            "agent": "worker-0",
            "operation": None,
            "request_id": "r",
            "actor": "tests",
            "actor_kind": "command",
            "reason": "maintenance",
        },
    }
    assert get_channel_layer().channels == {}


@pytest.mark.django_db
def test_events_after__filters__select_in_order():
    first = happen("freeze.enable", agent="a")
    second = happen("freeze.disable", agent="b")
    third = happen("freezer.fill", agent="b")
    start, end = first.pk - 1, third.pk

    def found(cursor: int = start, until: int = end, **filters: object) -> list[AuditEntry]:
        return list(events_after(cursor, until, **filters))

    assert found() == [first, second, third]
    assert found(first.pk) == [second, third]
    assert found(until=second.pk) == [first, second]
    assert found(kinds=["freeze.*"]) == [first, second]
    assert found(kinds=["freeze.enable", "freezer.fill"]) == [first, third]
    assert found(agent="b", kinds=["freeze.*"]) == [second]


@pytest.mark.django_db
def test_events_after__long_answers__are_not_read(django_assert_num_queries):
    entry = happen(request={"body": "long"}, answer={"chunks": ["long"]})

    with django_assert_num_queries(1):
        (found,) = events_after(entry.pk - 1, entry.pk)
        assert event_of(found) == event_of(entry)
    assert found.get_deferred_fields() == {"document", "previous", "mac", "key_id"}


@pytest.mark.django_db(transaction=True)
def test_events_after__many_writers__reader_steps_over_none():
    count, writers = 300, 6
    start = latest_cursor()

    def write(part: int) -> None:
        try:
            for number in range(part, count, writers):
                if number % 2:
                    happen()
                    continue
                with transaction.atomic():
                    happen()
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(part,)) for part in range(writers)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    cursor, deadline = start, time.monotonic() + DEADLINE_SECONDS
    while len(seen) < count and time.monotonic() < deadline:
        until = latest_cursor()
        seen += [entry.pk for entry in events_after(cursor, until)]
        cursor = until
    for thread in threads:
        thread.join()

    written = AuditEntry.objects.filter(id__gt=start).order_by("id").values_list("id", flat=True)
    assert len(written) == count
    assert seen == list(written)


@pytest.mark.django_db(transaction=True)
def test_record__outside_of_a_transaction__is_not_overtaken(monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("takes turns on PostgreSQL only")
    inserting, go_on = threading.Event(), threading.Event()
    mac_of = appending.mac_of

    def held(keys, document, *place):
        if b"slow.one" in document:
            inserting.set()
            go_on.wait(DEADLINE_SECONDS)
        return mac_of(keys, document, *place)

    def write(action, together_with):
        try:
            with together_with:
                happen(action)
        finally:
            connection.close()

    monkeypatch.setattr(appending, "mac_of", held)
    slow = threading.Thread(target=write, args=("slow.one", nullcontext()))
    fast = threading.Thread(target=write, args=("fast.one", transaction.atomic()))
    slow.start()
    assert inserting.wait(DEADLINE_SECONDS)
    fast.start()
    waits = _wait_until_it_waits(fast)
    go_on.set()
    slow.join()
    fast.join()

    assert waits
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions) == ["slow.one", "fast.one"]


def _wait_until_it_waits(thread: threading.Thread) -> bool:
    """Whether it waits for an advisory lock before it ends."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while thread.is_alive() and time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if cursor.fetchone():
                return True
    return False
