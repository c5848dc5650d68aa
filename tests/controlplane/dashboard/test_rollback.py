"""Rolling an operation back: what is said before, what is done, the trail that it leaves."""

import re
import threading

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.audit.models import AuditEntry
from controlplane.dashboard import rollbacks
from controlplane.fleet.models import Dialect
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.operations.models import Operation, OperationTarget
from tests.controlplane.commands.running import run, run_json
from tests.support.waiting import eventually

# What is taken back in another thread has connections of its own.
pytestmark = pytest.mark.django_db(transaction=True)

KEY = "3" * 32
TRAIL = ("stage", "action", "agent", "engine", "target", "reason", "outcome", "status")


def unreachable(method: str, path: str) -> None:
    raise NotSent("connection refused")


def text_of(answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def url_of(operation: str, rest: str = "") -> str:
    return f"/dashboard/operations/{operation}/{rest}"


def frozen(*names: str) -> str:
    chosen = [part for name in names for part in ("--agent", name)]
    return str(run_json("freeze", "enable", *chosen).document["id"])


def take_back(browser, operation: str, **fields: str):
    form = {"reason": "too early", "key": KEY, **fields}
    return browser.post(url_of(operation, "rollback/"), form, follow=True)


def test_rollback__frozen__preview_names_agents_and_calls_then_each_is_as_before(
    operator, fleet
) -> None:
    simulated = [fleet(f"worker-{number}")[1] for number in range(3)]
    # Was frozen before, so that taking it back changes nothing there.
    frozen("worker-2")
    operation = frozen("worker-0", "worker-1", "worker-2")
    sent = [dict(agent.asked) for agent in simulated]

    preview = text_of(operator.get(url_of(operation, "rollback/")))
    # As many as are sent something.
    assert "Roll back freeze.enable: 2 agents" in preview
    assert "worker-1 PUT /freeze/disable worker-0 PUT /freeze/disable" in preview
    assert "worker-2 By what is on record there is nothing to send." in preview
    assert [agent.asked for agent in simulated] == sent

    page = take_back(operator, operation)
    assert page.redirect_chain == [(url_of(operation), 302)]
    text = text_of(page)
    assert "Taken back on 3 agents." in text
    assert text.count("succeeded taken back") == 3
    assert "Roll back…" not in text
    assert [agent.freeze for agent in simulated] == [False, False, True]
    reasons = Operation.objects.filter(undo_of=operation).values_list("actor_name", "reason")
    assert set(reasons) == {("operator", "too early")}


def test_rollback__of_configurations__restores_the_values(operator, fleet) -> None:
    simulated = [fleet(f"worker-{number}")[1] for number in range(2)]
    run("conf", "set", "min_retrieve_tokens=7", "--all")
    operation = run_json("conf", "set", "min_retrieve_tokens=8", "--all").document["id"]
    assert url_of(operation, "rollback/") in operator.get(url_of(operation)).content.decode()
    preview = text_of(operator.get(url_of(operation, "rollback/")))
    for agent in ("worker-0", "worker-1"):
        call = f"{agent} POST /conf?atomic=true {{&quot;min_retrieve_tokens&quot;: 7}}"
        assert call in preview
    assert "Taken back on 2 agents." in text_of(take_back(operator, operation))
    assert [agent.conf["min_retrieve_tokens"] for agent in simulated] == [7, 7]


def test_rollback__nothing_to_send__asks_for_no_reason_and_says_so(operator, fleet) -> None:
    fleet()
    frozen("worker-0")
    page = operator.get(url_of(frozen("worker-0"), "rollback/"))
    assert "There is nothing to send to anybody" in text_of(page)
    assert 'name="reason"' not in page.content.decode()


def test_rollback__nobody_knows_what_was_done__all_that_was_asked_for_is_sent_as_it_was(
    operator, fleet
) -> None:
    _, simulated = fleet()
    run("conf", "set", "min_retrieve_tokens=7", "--all")

    def lost(method: str, path: str) -> None:
        if method == "POST":
            raise TimedOut("timed out")

    simulated.before = lost
    operation = run_json("conf", "set", "min_retrieve_tokens=8", "--all").document["id"]
    assert OperationTarget.objects.get(operation=operation).state == "unknown"
    preview = text_of(operator.get(url_of(operation, "rollback/")))
    assert "POST /conf?atomic=true {&quot;min_retrieve_tokens&quot;: 7}" in preview


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize(
    ("change", "queries"),
    [
        # Session and user, operation, targets, agents, both kinds of parts, what is
        # desired, chain, cursor.
        (["freeze", "enable"], 10),
        (["hotcache", "disable"], 10),
        # Active revisions, parents, schemas and dialects in the place of what is desired.
        (["conf", "set", "min_retrieve_tokens=7"], 13),
    ],
)
def test_rollback__queries__are_a_handful_whatever_the_number_of_agents(
    operator, fleet, change, queries, count
) -> None:
    for number in range(count):
        fleet(f"worker-{number}")
    operation = run_json(*change, "--all").document["id"]
    with CaptureQueriesContext(connection) as captured:
        preview = text_of(operator.get(url_of(operation, "rollback/")))
    assert len(captured) == queries
    assert preview.count("nothing to send") == 0


def test_rollback__of_a_bypass__names_the_backend(operator, fleet) -> None:
    _, simulated = fleet()
    operation = run_json("bypass", "add", "RemoteBackend", "--all").document["id"]
    preview = text_of(operator.get(url_of(operation, "rollback/")))
    assert "PUT /bypass/remove?backend_name=RemoteBackend" in preview
    take_back(operator, operation)
    assert simulated.bypassed == []


def test_rollback__by_page_and_by_command__leave_the_same_trail(operator, fleet) -> None:
    fleet()
    _, silent = fleet("worker-1")

    def trail(operation: str) -> list[tuple[str, ...]]:
        undos = Operation.objects.filter(undo_of=operation)
        entries = AuditEntry.objects.filter(operation_id__in=undos.values("pk")).order_by("id")
        return [
            tuple(
                str(getattr(entry, name)).replace(str(entry.operation_id), "ID") for name in TRAIL
            )
            for entry in entries
        ]

    def targets(operation: str) -> list[tuple[object, ...]]:
        rows = OperationTarget.objects.filter(operation=operation)
        return list(rows.values_list("agent", "state", "undone", "undo_error"))

    by_command = frozen("worker-0", "worker-1")
    silent.before = unreachable
    run("operations", "rollback", by_command, "--reason", "too early")
    silent.before = lambda method, path: None
    run("freeze", "disable", "--all")
    by_page = frozen("worker-0", "worker-1")
    silent.before = unreachable
    take_back(operator, by_page)

    assert len(trail(by_page)) == 4
    assert trail(by_page) == trail(by_command)
    assert targets(by_page) == targets(by_command)
    undos = Operation.objects.filter(undo_of=by_page)
    assert set(undos.values_list("actor_kind", "actor_name")) == {("user", "operator")}


def test_rollback__agent_is_silent__operation_says_why_and_can_be_tried_again(
    operator, fleet
) -> None:
    _, simulated = fleet()
    operation = frozen("worker-0")
    simulated.before = unreachable
    text = text_of(take_back(operator, operation))
    assert "Not taken back on 1 of 1 agent; see below why." in text
    assert "succeeded not taken back" in text
    assert "connection refused" in text
    assert "Roll back…" in text
    simulated.before = lambda method, path: None
    assert "Taken back on 1 agent." in text_of(take_back(operator, operation))
    assert simulated.freeze is False


def test_rollback__changed_by_somebody_since__stays(operator, fleet) -> None:
    _, simulated = fleet()
    operation = frozen("worker-0")
    run("freeze", "enable", "--agent", "worker-0", "--reason", "mine")
    text = text_of(take_back(operator, operation))
    assert "not taken back" in text
    assert "was changed meanwhile; nothing was put back" in text
    assert simulated.freeze is True


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (["conf", "set", "min_retrieve_tokens=8"], ["conf", "set", "min_retrieve_tokens=9"]),
        (["freeze", "enable"], ["freeze", "enable"]),
    ],
)
def test_rollback__changed_by_somebody_since__preview_shows_no_call(
    operator, fleet, first, later
) -> None:
    fleet()
    run("conf", "set", "min_retrieve_tokens=7", "--all")
    operation = run_json(*first, "--all").document["id"]
    run(*later, "--all", "--reason", "mine")
    preview = text_of(operator.get(url_of(operation, "rollback/")))
    assert "worker-0 It was changed since, and is left as it is." in preview
    assert "There is nothing to send to anybody" in preview


def test_rollback__what_nobody_knows_was_overtaken__preview_shows_no_call(operator, fleet) -> None:
    _, simulated = fleet()
    run("conf", "set", "min_retrieve_tokens=7", "--all")

    def lost(method: str, path: str) -> None:
        if method == "POST":
            raise TimedOut("timed out")

    simulated.before = lost
    operation = run_json("conf", "set", "min_retrieve_tokens=8", "--all").document["id"]
    simulated.before = lambda method, path: None
    run("conf", "set", "min_retrieve_tokens=9", "--all")
    preview = text_of(operator.get(url_of(operation, "rollback/")))
    assert "worker-0 It was changed since, and is left as it is." in preview


def test_rollback__lmcache__preview_shows_the_call_as_it_is_sent(operator, fleet) -> None:
    fleet(dialect=Dialect.LMCACHE)
    run("conf", "set", "min_retrieve_tokens=7", "--all")
    operation = run_json("conf", "set", "min_retrieve_tokens=8", "--all").document["id"]
    preview = text_of(operator.get(url_of(operation, "rollback/")))
    assert "worker-0 POST /conf {&quot;min_retrieve_tokens&quot;: 7}" in preview


def test_rollback__agent_gone__is_said_before(operator, fleet) -> None:
    agent, _ = fleet()
    operation = frozen("worker-0")
    agent.delete()
    preview = text_of(operator.get(url_of(operation, "rollback/")))
    assert "worker-0 It is not registered any more." in preview


def test_rollback__many_agents__calls_of_the_first_are_shown_and_the_others_named(
    operator, fleet, monkeypatch
) -> None:
    monkeypatch.setattr(rollbacks, "_MOST_FORESEEN", 1)
    for number in range(3):
        fleet(f"worker-{number}")
    preview = text_of(operator.get(url_of(frozen("worker-0", "worker-1", "worker-2"), "rollback/")))
    assert "Roll back freeze.enable: 3 agents" in preview
    assert "And 2 more, which are brought back in the same way: worker-1, worker-0." in preview


def test_rollback__agent_is_slow__page_does_not_wait_and_says_so(
    operator, fleet, monkeypatch
) -> None:
    monkeypatch.setattr(rollbacks, "_WAIT_S", 0.01)
    _, simulated = fleet()
    operation = frozen("worker-0")
    called, answered = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "PUT":
            called.set()
            answered.wait(10)

    simulated.before = hold
    page = take_back(operator, operation)
    assert "It is being taken back; this page says how far that has come." in text_of(page)
    assert called.wait(10)
    assert 'data-refresh="5"' in operator.get(url_of(operation)).content.decode()
    answered.set()
    eventually(lambda: OperationTarget.objects.get(operation=operation).undone)
    assert simulated.freeze is False
    assert "data-refresh" not in operator.get(url_of(operation)).content.decode()


def test_rollback__no_reason__is_asked_for_and_nothing_is_done(operator, fleet) -> None:
    _, simulated = fleet()
    operation = frozen("worker-0")
    page = take_back(operator, operation, reason="")
    assert page.status_code == 400
    assert "Say why" in text_of(page)
    assert simulated.freeze is True
    assert not Operation.objects.filter(undo_of=operation).exists()


def test_rollback__sent_twice__second_says_that_it_is_done(operator, fleet) -> None:
    fleet()
    operation = frozen("worker-0")
    take_back(operator, operation)
    text = text_of(take_back(operator, operation))
    assert "succeeded on no agent on which it still stands" in text
    assert Operation.objects.filter(undo_of=operation).count() == 1


def test_rollback__what_leaves_nothing_to_undo__no_button_and_409(operator, fleet) -> None:
    fleet()
    operation = run_json("cache", "clear", "--all").document["id"]
    assert "Roll back…" not in text_of(operator.get(url_of(operation)))
    page = operator.get(url_of(operation, "rollback/"))
    assert page.status_code == 409
    assert "is a cache.clear, which leaves nothing to undo" in text_of(page)
