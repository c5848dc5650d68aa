"""The list of operations, one operation, and what can be done about it."""

import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import NotSent
from controlplane.operations.effects import Wishes
from controlplane.operations.models import Operation, State
from controlplane.operations.planning import Plan, plan_operation
from controlplane.operations.selecting import Selector
from controlplane.operations.strategy import OnFailure, Strategy
from engine.contract import endpoint

from ..conftest import ACTOR

# The runner's threads have connections of their own.
pytestmark = pytest.mark.django_db(transaction=True)
KEY = "1" * 32
WHY = {"reason": "it answers again", "key": KEY}


def plan(operation_id: str, *agents: str, **more) -> Operation:
    wanted = Plan(endpoint(operation_id), Selector(agents=agents), timeout_s=5, **more)
    return plan_operation(wanted, key="", actor=ACTOR, request_id="req-1").operation


def carried_out(runner, operation: Operation) -> Operation:
    runner.start(operation)
    return runner.wait_for(operation.pk, 10)


def text_of(answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def url_of(operation: Operation, rest: str = "") -> str:
    return f"/dashboard/operations/{operation.pk}/{rest}"


def unreachable(method: str, path: str) -> None:
    raise NotSent("connection refused")


def test_list__nothing_yet__tells_what_operations_are(viewer) -> None:
    text = text_of(viewer.get("/dashboard/operations/"))
    assert "Nothing was changed yet" in text
    assert "Select agents in the fleet to make one." in text


def test_list__filter_fits_none__shows_a_way_back(viewer) -> None:
    assert "No operation fits" in text_of(viewer.get("/dashboard/operations/?actor=nobody"))


@pytest.mark.parametrize("query", ["state=odd", "since=yesterday", "cursor=odd"])
def test_list__bad_filter__400_naming_it(viewer, query) -> None:
    page = viewer.get(f"/dashboard/operations/?{query}")
    assert page.status_code == 400
    assert query.partition("=")[0] in text_of(page)


def test_list__several__newest_first_with_their_progress(viewer, fleet, runner) -> None:
    fleet()
    _, broken = fleet("worker-1")
    carried_out(runner, plan("enable_freeze", "worker-0", reason="first"))
    broken.before = unreachable
    carried_out(runner, plan("disable_hot_cache", "worker-0", "worker-1", reason="second"))
    text = text_of(viewer.get("/dashboard/operations/"))
    assert text.index("hot_cache.disable") < text.rindex("freeze.enable")
    assert "1 of 2 1 failed tests second" in text
    only = text_of(viewer.get("/dashboard/operations/?action=freeze.enable"))
    assert "first" in only
    assert "second" not in only


def test_list__what_is_changed__is_named_beside_the_action(viewer, make_agent) -> None:
    make_agent()
    plan("update_conf", "worker-0", body={"min_retrieve_tokens": 1, "remote_serde": "zstd"})
    plan("add_bypass", "worker-0", parameters={"backend_name": "Remote Backend"})
    plan("enable_freeze", "worker-0")
    text = text_of(viewer.get("/dashboard/operations/"))
    assert "conf.update min_retrieve_tokens, remote_serde pending" in text
    assert "bypass.add backend_name=Remote Backend pending" in text
    assert "freeze.enable — pending" in text


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (Strategy(canary=1), "1 first, then all at once; failures are borne"),
        (
            Strategy(canary=2, wave_size=5, pause_s=90, max_failures=0),
            "2 first, then 5 at a time, 1 min apart; after the first failure nobody else is called",
        ),
        (
            Strategy(wave_size=3, pause_s=0.5, max_failures=1, on_failure=OnFailure.ROLLBACK),
            "3 at a time, 0.5 s apart; after more than 1 failure it is taken back",
        ),
    ],
)
def test_operation__strategy__is_told_in_words(viewer, make_agent, strategy, words) -> None:
    make_agent()
    operation = plan("enable_freeze", "worker-0", strategy=strategy)
    assert f"Strategy {words}" in text_of(viewer.get(url_of(operation)))


def test_operation__pauses__says_when_the_next_wave_begins(viewer, make_agent) -> None:
    make_agent()
    operation = plan("enable_freeze", "worker-0")
    operation.state = State.RUNNING
    operation.paused_until = timezone.now() + timedelta(minutes=30, seconds=30)
    operation.save()
    assert "the next wave begins in 30 min" in text_of(viewer.get(url_of(operation)))


def test_operation__body__is_there_at_a_glance_or_folded_away(viewer, make_agent) -> None:
    make_agent()
    short = plan("update_conf", "worker-0", body={"min_retrieve_tokens": 1})
    page = viewer.get(url_of(short))
    assert "Body {&quot;min_retrieve_tokens&quot;: 1}" in text_of(page)
    assert '<details id="body">' not in page.content.decode()
    long = plan("update_conf", "worker-0", body={f"key_{number}": number for number in range(50)})
    assert '<details id="body">' in viewer.get(url_of(long)).content.decode()


def test_list__more_than_a_page__goes_on(viewer, make_agent) -> None:
    make_agent()
    for number in range(51):
        plan("enable_freeze", "worker-0", reason=f"number {number}.")
    first = viewer.get("/dashboard/operations/").content.decode()
    assert "number 50." in first
    assert "number 0." not in first
    older = re.search(r'<a href="([^"]+)" rel="next"', first)
    assert older is not None
    second = viewer.get(older[1].replace("&amp;", "&")).content.decode()
    assert "number 0." in second
    assert 'rel="prev"' in second


def test_operation__waves_and_failures__are_told(viewer, fleet, runner) -> None:
    for number in range(3):
        _, simulated = fleet(f"worker-{number}")
    simulated.before = unreachable
    operation = carried_out(
        runner,
        plan(
            "enable_freeze",
            *("worker-0", "worker-1", "worker-2"),
            strategy=Strategy(canary=1),
            reason="deploy 42",
        ),
    )
    page = viewer.get(url_of(operation))
    text = text_of(page)
    assert "freeze.enable partially failed" in text
    assert "3 of 3 agents done: 2 succeeded, 1 failed or unknown" in text
    assert "Wave 1 · 1 of 1 done" in text
    assert "Wave 2 · 2 of 2 done" in text
    # Those that failed come first.
    assert text.index("worker-2") < text.index("worker-1")
    assert f'hx-get="{url_of(operation)}"' in page.content.decode()
    assert f'data-live-operation="{operation.pk}"' in page.content.decode()
    assert "Retry" not in text


def test_operation__more_agents_than_are_shown__failures_of_every_wave_come_first(
    viewer, fleet, runner, monkeypatch
) -> None:
    monkeypatch.setattr("controlplane.dashboard.views.operations._MOST_TARGETS", 2)
    for number in range(4):
        _, simulated = fleet(f"worker-{number}")
    simulated.before = unreachable
    names = [f"worker-{number}" for number in range(4)]
    operation = carried_out(runner, plan("enable_freeze", *names, strategy=Strategy(canary=2)))

    with CaptureQueriesContext(connection) as captured:
        text = text_of(viewer.get(url_of(operation)))

    assert "4 of 4 agents done: 3 succeeded, 1 failed or unknown" in text
    assert "2 further agents are not shown; those that failed come first." in text
    assert re.findall(r"worker-\d", text) == ["worker-0", "worker-3", "worker-3"]
    assert "connection refused" in text
    loaded = '"answer", "operations_operationtarget"."error"'
    assert not any(loaded in one["sql"] for one in captured)


def test_operation__agent_said_something__is_shown(viewer, fleet, runner) -> None:
    fleet()
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    for answer, said in [
        ({"message": "frozen it", "error": "x"}, "frozen it"),
        ({"message": "", "error": "odd"}, "odd"),
        ({}, ""),
        (None, ""),
        (["no"], ""),
    ]:
        operation.targets.update(answer=answer)
        page = viewer.get(url_of(operation)).content.decode()
        assert re.findall(r'class="long(?: void)?">([^<]*?) *</td>', page) == [said]


def test_operation__finished__page_is_at_rest_though_it_can_be_rolled_back(
    operator, fleet, runner
) -> None:
    fleet()
    operation = plan("enable_freeze", "worker-0")
    assert "data-refresh" in operator.get(url_of(operation)).content.decode()
    carried_out(runner, operation)
    page = operator.get(url_of(operation)).content.decode()
    assert "Roll back…" in page
    assert "data-refresh" not in page


def test_operation__unknown__404_page(viewer) -> None:
    page = viewer.get("/dashboard/operations/00000000-0000-0000-0000-000000000000/")
    assert page.status_code == 404
    assert "There is no operation" in text_of(page)


def test_cancel__pending__is_asked_for_on_record(operator, make_agent) -> None:
    make_agent()
    operation = plan("enable_freeze", "worker-0")
    assert "Cancel: call no further agent" in text_of(operator.get(url_of(operation)))
    assert "1 agent: worker-0 Reason" in text_of(operator.get(url_of(operation, "cancel")))
    answer = operator.post(url_of(operation, "cancel"), WHY, follow=True)
    assert "No further agents are called." in text_of(answer)
    operation.refresh_from_db()
    assert operation.cancel_requested_at is not None
    (entry,) = AuditEntry.objects.filter(action="operation.cancel")
    assert (entry.actor_name, entry.reason) == ("operator", "it answers again")


def test_cancel__finished__says_that_it_is(operator, fleet, runner) -> None:
    fleet()
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    answer = operator.post(url_of(operation, "cancel"), WHY, follow=True)
    assert "there is nothing to cancel" in text_of(answer)


def test_retry__some_failed__calls_those_again(operator, fleet, runner) -> None:
    fleet()
    _, broken = fleet("worker-1")
    broken.before = unreachable
    operation = carried_out(runner, plan("enable_freeze", "worker-0", "worker-1"))
    assert "Retry the 1 that failed" in text_of(operator.get(url_of(operation)))
    asked = text_of(operator.get(url_of(operation, "retry")))
    assert "as a new operation. 1 agent: worker-1 Reason" in asked
    broken.before = lambda method, path: None
    answer = operator.post(url_of(operation, "retry"), WHY)
    retry = Operation.objects.get(retry_of=operation.pk)
    assert answer["Location"] == url_of(retry)
    assert retry.reason == "it answers again"
    assert runner.wait_for(retry.pk, 10).state == State.SUCCEEDED
    assert [target.agent for target in retry.targets.all()] == ["worker-1"]
    assert broken.freeze is True


def test_retry__nobody_failed__says_so(operator, fleet, runner) -> None:
    fleet()
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    answer = operator.post(url_of(operation, "retry"), WHY, follow=True)
    assert "only agents that failed" in text_of(answer)


def test_retry__sent_twice__is_one_operation(operator, fleet, runner) -> None:
    _, broken = fleet()
    broken.before = unreachable
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    first = operator.post(url_of(operation, "retry"), WHY)
    retry = Operation.objects.get(retry_of=operation.pk)
    assert runner.wait_for(retry.pk, 10).state == State.FAILED
    second = operator.post(url_of(operation, "retry"), WHY)
    assert first["Location"] == second["Location"] == url_of(retry)
    assert Operation.objects.filter(retry_of=operation.pk).count() == 1


def test_retry__key_of_another_form__says_so(operator, fleet, runner) -> None:
    _, broken = fleet()
    broken.before = unreachable
    first, second = (carried_out(runner, plan("enable_freeze", "worker-0")) for _ in range(2))
    operator.post(url_of(first, "retry"), WHY)
    text = text_of(operator.post(url_of(second, "retry"), WHY, follow=True))
    assert "was sent before with another request" in text
    assert not Operation.objects.filter(retry_of=second.pk).exists()
    runner.wait_for(Operation.objects.get(retry_of=first.pk).pk, 10)


def test_retry__another_is_under_way__says_which(operator, fleet, runner) -> None:
    _, broken = fleet()
    broken.before = unreachable
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    answered = threading.Event()

    def hold(method: str, path: str) -> None:
        answered.wait(10)

    broken.before = hold
    operator.post(url_of(operation, "retry"), WHY)
    another = {**WHY, "key": "2" * 32}
    text = text_of(operator.post(url_of(operation, "retry"), another, follow=True))
    answered.set()
    retry = Operation.objects.get(retry_of=operation.pk)
    assert f"Operation {retry.pk} retries operation {operation.pk}" in text
    runner.wait_for(retry.pk, 10)


def test_cancel__no_reason__is_asked_for_and_nothing_is_done(operator, make_agent) -> None:
    make_agent()
    operation = plan("enable_freeze", "worker-0")
    page = operator.get(url_of(operation, "cancel"))
    assert "Cancel freeze.enable" in text_of(page)
    page = operator.post(url_of(operation, "cancel"), {**WHY, "reason": ""})
    assert page.status_code == 400
    assert "Say why" in text_of(page)
    assert Operation.objects.get().cancel_requested_at is None


def test_retry__no_reason__is_asked_for_and_nothing_is_done(operator, fleet, runner) -> None:
    _, broken = fleet()
    broken.before = unreachable
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    page = operator.get(url_of(operation, "retry"))
    assert "Retry freeze.enable" in text_of(page)
    page = operator.post(url_of(operation, "retry"), {**WHY, "reason": ""})
    assert page.status_code == 400
    assert "Say why" in text_of(page)
    assert not Operation.objects.exclude(pk=operation.pk).exists()


@pytest.mark.parametrize(
    ("verb", "why"),
    [("cancel", "there is nothing to cancel"), ("retry", "only agents that failed")],
)
def test_change__nothing_can_be_done__says_so_before_it_asks_why(
    operator, fleet, runner, verb, why
) -> None:
    fleet()
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    page = operator.get(url_of(operation, verb))
    assert why in text_of(page)
    assert 'name="reason"' not in page.content.decode()


def test_retry__done__operation_leads_to_it_and_offers_no_other(operator, fleet, runner) -> None:
    _, broken = fleet()
    broken.before = unreachable
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    operator.post(url_of(operation, "retry"), WHY)
    retry = Operation.objects.get(retry_of=operation.pk)
    runner.wait_for(retry.pk, 10)
    page = operator.get(url_of(operation))
    assert "Retried by another operation failed" in text_of(page)
    assert f'href="{url_of(retry)}"' in page.content.decode()
    assert "Retry the" not in text_of(page)
    # It is that one that is retried now.
    assert "Retry the 1 that failed" in text_of(operator.get(url_of(retry)))


def test_retry__was_cancelled__operation_offers_another(operator, fleet, runner) -> None:
    _, broken = fleet()
    broken.before = unreachable
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    operator.post(url_of(operation, "retry"), WHY)
    retry = Operation.objects.get(retry_of=operation.pk)
    runner.wait_for(retry.pk, 10)
    Operation.objects.filter(pk=retry.pk).update(state=State.CANCELLED)
    text = text_of(operator.get(url_of(operation)))
    assert "Retried by another operation cancelled" in text
    assert "Retry the 1 that failed" in text


def test_operation__some_were_not_called__are_counted_as_cancelled(viewer, fleet, runner) -> None:
    for number in range(3):
        _, simulated = fleet(f"worker-{number}")
        simulated.before = unreachable
    names = [f"worker-{number}" for number in range(3)]
    strategy = Strategy(canary=1, max_failures=0, on_failure=OnFailure.STOP)
    operation = carried_out(runner, plan("enable_freeze", *names, strategy=strategy))
    text = text_of(viewer.get(url_of(operation)))
    assert "3 of 3 agents done: 0 succeeded, 1 failed or unknown , 2 cancelled" in text
    assert "0 of 3 1 failed 2 cancelled" in text_of(viewer.get("/dashboard/operations/"))


def test_operation__wave_of_which_nobody_is_shown__says_so(viewer, make_agent, monkeypatch) -> None:
    monkeypatch.setattr("controlplane.dashboard.views.operations._MOST_TARGETS", 2)
    names = [f"worker-{number}" for number in range(4)]
    for number, name in enumerate(names):
        make_agent(name, worker_id=number)
    operation = plan("enable_freeze", *names, strategy=Strategy(canary=1))
    operation_of_two = Strategy(canary=2, wave_size=1)
    text = text_of(viewer.get(url_of(operation)))
    assert "And 2 more, which are not shown." in text
    operation = plan("enable_freeze", *names, strategy=operation_of_two)
    page = viewer.get(url_of(operation))
    assert text_of(page).count("Its 1 agent is not shown.") == 2
    assert page.content.decode().count("<table") == 1


def test_operation__ends_by_itself__is_told_as_a_moment(viewer, make_agent) -> None:
    make_agent()
    at = datetime(2126, 11, 26, 21, 12, 57, 779766, tzinfo=UTC)
    operation = plan("enable_freeze", "worker-0", wishes=Wishes(expires_at=at))
    text = text_of(viewer.get(url_of(operation)))
    assert "Ends by itself 2126-11-26 21:12:57 UTC, in " in text
    assert "779766" not in text


@pytest.mark.parametrize("verb", ["cancel", "retry", "rollback/"])
def test_change__viewer__403_and_no_button(viewer, fleet, runner, verb) -> None:
    fleet()
    operation = carried_out(runner, plan("enable_freeze", "worker-0"))
    assert viewer.post(url_of(operation, verb), {"reason": "x", "key": KEY}).status_code == 403
    assert url_of(operation, verb) not in viewer.get(url_of(operation)).content.decode()
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("count", [1, 20])
def test_pages__queries__are_a_handful_whatever_the_number_of_agents(
    viewer, make_agent, count
) -> None:
    for number in range(count):
        make_agent(f"worker-{number}", worker_id=number)
        plan("enable_freeze", f"worker-{number}")
    operation = plan("enable_freeze", *Agent.objects.values_list("name", flat=True))
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get("/dashboard/operations/").status_code == 200
    # Session and user, operations, their targets, chain, cursor.
    assert len(captured) == 6
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get(url_of(operation)).status_code == 200
    assert len(captured) == 7
