"""What an operation that fails takes back, and what it says of the rest."""

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.operations import recovery
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.recalling import take_back
from controlplane.reconcile.finishing import Finisher
from controlplane.reconcile.loop import ControlLoop
from tests.support.waiting import eventually

from ..conftest import ACTOR
from .asking import done, refuse

pytestmark = pytest.mark.django_db(transaction=True)
ROLLBACK = {"wave_size": 1, "max_failures": 0, "on_failure": "rollback"}


@pytest.fixture
def loop(transactional_db, settings):
    settings.KVPLANE_POLL_SECONDS = 0.001
    settings.KVPLANE_POLL_CONCURRENCY = 4
    controller = ControlLoop("test:1:a")
    yield controller
    controller.close()


@pytest.fixture
def two(fleet):
    return [fleet(f"w{number}")[1] for number in range(2)]


def talking(method, path):
    return None


def freeze(api, agent, **headers):
    answer = api.put(f"/agents/{agent}/freeze/enable", headers=headers)
    assert answer.status_code == 200, answer.content


def part(operation: dict, agent: str) -> dict:
    return next(target for target in operation["targets"] if target["agent"] == agent)


# What was there before.


def test_rollback__mode_had_an_end__has_it_again(operator_api, two):
    freeze(operator_api, "w0", **{"X-KVPlane-Expires-In": "1200"})
    before = DesiredMode.objects.get(agent="w0")
    two[1].before = refuse

    done(operator_api, action="freeze.disable", strategy=ROLLBACK)

    after = DesiredMode.objects.get(agent="w0")
    assert two[0].freeze is True
    assert (after.value, after.expires_at, after.revert_to) == (True, before.expires_at, False)


def test_rollback__same_value_but_without_the_end__has_the_end_again(operator_api, two):
    freeze(operator_api, "w0", **{"X-KVPlane-Expires-In": "1200"})
    before = DesiredMode.objects.get(agent="w0")
    two[1].before = refuse

    operation = done(operator_api, strategy=ROLLBACK)

    after = DesiredMode.objects.get(agent="w0")
    assert part(operation, "w0")["undone"] is True
    assert (after.value, after.expires_at, after.revert_to) == (True, before.expires_at, False)


def test_rollback__end_leads_to_what_was_meant_to_last_then(operator_api, two):
    freeze(operator_api, "w0")
    operator_api.put("/agents/w0/freeze/disable", headers={"X-KVPlane-Expires-In": "1200"})
    two[1].before = refuse

    done(operator_api, action="freeze.disable", strategy=ROLLBACK)

    after = DesiredMode.objects.get(agent="w0")
    assert (after.value, after.revert_to) == (False, True)
    assert after.expires_at is not None


def test_rollback__end_has_passed_meanwhile__leads_where_that_led(operator_api, two):
    freeze(operator_api, "w0", **{"X-KVPlane-Expires-In": "1200"})

    def pass_the_end(method, path):
        changes = ModeChange.objects.filter(agent="w0").exclude(from_expires_at=None)
        changes.update(from_expires_at=timezone.now() - timedelta(seconds=1))
        raise NotSent("Connection refused")

    two[1].before = pass_the_end

    operation = done(operator_api, strategy=ROLLBACK)

    after = DesiredMode.objects.get(agent="w0")
    assert part(operation, "w0")["undone"] is True
    assert two[0].freeze is False
    assert (after.value, after.expires_at) == (False, None)


# Outcomes that nobody knows.


def test_rollback__unknown_and_found_out_to_be_done__is_taken_back(operator_api, two):
    done(operator_api, action="freeze.disable")

    def lose(method, path):
        if path == "/freeze/enable":
            two[0].freeze = True
            raise TimedOut("lost")

    two[0].before = lose

    operation = done(operator_api, strategy=ROLLBACK)

    assert two[0].freeze is False
    assert part(operation, "w0")["undone"] is True
    assert part(operation, "w0")["undo_error"] == ""
    assert DesiredMode.objects.get(agent="w0").value is False


def test_rollback__unknown_and_found_out_not_to_be_done__is_left(operator_api, two):
    def lose(method, path):
        if path == "/freeze/enable":
            raise TimedOut("lost")

    two[0].before = lose

    operation = done(operator_api, strategy=ROLLBACK)

    assert part(operation, "w0")["state"] == "failed"
    assert part(operation, "w0")["undone"] is False
    assert "PUT /freeze/disable" not in two[0].asked


def test_rollback__unknown_and_nothing_can_be_asked__is_turned_back_all_the_same(operator_api, two):
    done(operator_api, action="freeze.disable")

    def lose(method, path):
        if path == "/freeze/enable":
            two[0].freeze = True
        if path != "/freeze/disable":
            raise TimedOut("lost")

    two[0].before = lose

    operation = done(operator_api, strategy=ROLLBACK)

    assert two[0].freeze is False
    assert part(operation, "w0")["state"] == "unknown"
    assert part(operation, "w0")["undone"] is True
    assert operation["state"] == "failed"


@pytest.mark.parametrize("action", ["freeze.enable", "conf.update"])
def test_rollback__unknown_and_agent_stays_silent__is_named_and_the_loop_puts_it_back(
    operator_api, two, loop, action
):
    for _ in range(2):
        loop.go_round()

    def do_it_and_fall_silent(method, path):
        if method == "GET":
            return
        two[0].before = silent
        two[0].freeze = action == "freeze.enable"
        two[0].conf["min_retrieve_tokens"] = 9 if action == "conf.update" else 0
        raise TimedOut("lost")

    def silent(method, path):
        raise TimedOut("silent")

    two[0].before = do_it_and_fall_silent
    body = {"body": {"min_retrieve_tokens": 9}} if action == "conf.update" else {}

    operation = done(operator_api, action=action, strategy=ROLLBACK, **body)

    left = part(operation, "w0")
    assert (left["state"], left["undone"]) == ("unknown", False)
    assert "w0" in left["undo_error"]
    assert operation["state"] != "succeeded"

    two[0].before = talking
    for _ in range(6):
        loop.go_round()
    assert two[0].freeze is False
    assert two[0].conf["min_retrieve_tokens"] == 0
    assert DesiredMode.objects.get(agent="w0", mode="freeze").value is False
    assert ConfigRevision.objects.get(agent="w0", state="active").values == two[0].conf


def test_rollback__unknown_configuration_of_an_agent_that_cannot_tell__has_its_values_again(
    operator_api, two, loop
):
    for _ in range(2):
        loop.go_round()

    def lose(method, path):
        if method == "GET":
            raise TimedOut("silent")
        if not two[0].conf["min_retrieve_tokens"]:
            two[0].conf["min_retrieve_tokens"] = 9
            raise TimedOut("lost")

    two[0].before = lose

    operation = done(
        operator_api, action="conf.update", body={"min_retrieve_tokens": 9}, strategy=ROLLBACK
    )

    assert two[0].conf["min_retrieve_tokens"] == 0
    assert part(operation, "w0")["undone"] is True
    states = dict(ConfigRevision.objects.filter(agent="w0").values_list("number", "state"))
    assert states == {1: "active", 2: "failed"}


def test_rollback__agent_removed_before_it__is_named(operator_api, two):
    def remove(method, path):
        Agent.objects.filter(name="w0").delete()
        raise NotSent("Connection refused")

    two[1].before = remove

    operation = done(operator_api, strategy=ROLLBACK)

    assert part(operation, "w0")["undone"] is False
    assert "removed" in part(operation, "w0")["undo_error"]


def test_rollback__refused_by_the_agent__says_why(operator_api, two):
    two[1].before = refuse

    def only_forward(method, path):
        if path == "/freeze/disable":
            raise NotSent("Connection refused")

    two[0].before = only_forward

    operation = done(operator_api, strategy=ROLLBACK)

    assert part(operation, "w0")["undone"] is False
    assert "refused" in part(operation, "w0")["undo_error"]


def test_rollback__of_many__goes_wave_by_wave_backwards(operator_api, fleet):
    order = []
    simulated = [fleet(f"w{number}")[1] for number in range(5)]
    for number, agent in enumerate(simulated):

        def note(method, path, number=number):
            if path == "/freeze/disable":
                order.append(number)

        agent.before = note
    simulated[4].before = refuse

    done(operator_api, strategy={"wave_size": 2, "max_failures": 0, "on_failure": "rollback"})

    assert [sorted(order[:2]), sorted(order[2:])] == [[2, 3], [0, 1]]


# Processes that end in the middle of it.


def test_rollback__process_ended_after_an_undo__another_knows_that_it_was_made(operator_api, two):
    done(operator_api, action="freeze.disable")
    two[1].before = refuse
    identifier = done(operator_api, strategy=ROLLBACK)["id"]
    # As if the process had died before it wrote that down.
    OperationTarget.objects.filter(operation=identifier).update(undone=False)
    Operation.objects.filter(pk=identifier).update(
        state=State.RUNNING, finished_at=None, lease_until=timezone.now()
    )

    Finisher().finish_abandoned(10)
    eventually(lambda: State(Operation.objects.get(pk=identifier).state).is_final)

    assert OperationTarget.objects.get(operation=identifier, agent="w0").undone is True
    assert Operation.objects.filter(undo_of=identifier).count() == 1


def test_rollback__process_ended_during_an_undo__another_finds_out_what_came_of_it(
    operator_api, two
):
    done(operator_api, action="freeze.disable")
    two[1].before = refuse
    identifier = done(operator_api, strategy=ROLLBACK)["id"]
    # As if the process had died before it knew the agent's answer.
    back = Operation.objects.get(undo_of=identifier)
    OperationTarget.objects.filter(operation=identifier).update(undone=False)
    OperationTarget.objects.filter(operation=back).update(state=State.RUNNING)
    unfinished = {"state": State.RUNNING, "finished_at": None}
    Operation.objects.filter(pk=back.pk).update(**unfinished)
    Operation.objects.filter(pk=identifier).update(**unfinished, lease_until=timezone.now())
    change = ModeChange.objects.filter(operation_id=back.pk)
    change.update(state="pending", settled_at=None)

    Finisher().finish_abandoned(10)
    eventually(lambda: State(Operation.objects.get(pk=identifier).state).is_final)

    assert OperationTarget.objects.get(operation=identifier, agent="w0").undone is True
    assert State(Operation.objects.get(pk=back.pk).state) is State.SUCCEEDED
    assert Operation.objects.filter(undo_of=identifier).count() == 1


def test_rollback__process_ended_in_it_and_an_outcome_was_found_out__goes_no_further(
    operator_api, two
):
    """What was a failure when the rollback began may be none when another goes on."""
    two[1].before = refuse
    identifier = done(operator_api, strategy=ROLLBACK)["id"]
    OperationTarget.objects.filter(operation=identifier, agent="w1").update(state=State.PENDING)
    Operation.objects.filter(pk=identifier).update(
        state=State.RUNNING, finished_at=None, lease_until=timezone.now()
    )
    two[1].before = talking
    two[1].asked.clear()

    Finisher().finish_abandoned(10)
    eventually(lambda: State(Operation.objects.get(pk=identifier).state).is_final)

    assert two[1].asked == {}
    assert OperationTarget.objects.get(operation=identifier, agent="w1").state == State.CANCELLED


def test_rollback__undo_is_being_finished_by_another__is_waited_for(operator_api, two, monkeypatch):
    done(operator_api, action="freeze.disable")
    two[1].before = refuse
    identifier = done(operator_api, strategy=ROLLBACK)["id"]
    back = Operation.objects.get(undo_of=identifier)
    OperationTarget.objects.filter(operation=identifier).update(undone=False)
    OperationTarget.objects.filter(operation=back).update(state=State.RUNNING)
    unfinished = {"state": State.RUNNING, "finished_at": None}
    Operation.objects.filter(pk=back.pk).update(**unfinished)
    Operation.objects.filter(pk=identifier).update(**unfinished, lease_until=timezone.now())
    made = ModeChange.objects.get(operation_id=identifier, agent="w0")
    DesiredMode.objects.filter(agent="w0").update(value=True, change=made)
    ModeChange.objects.filter(operation_id=back.pk).update(state="pending", settled_at=None)
    tried = threading.Event()

    def taken_already(operation):
        tried.set()
        return False

    monkeypatch.setattr(recovery, "take_over", taken_already)

    Finisher().finish_abandoned(10)
    assert tried.wait(10)
    recovery.finish(back, ACTOR, timeout=5)
    eventually(lambda: State(Operation.objects.get(pk=identifier).state).is_final)

    assert OperationTarget.objects.get(operation=identifier, agent="w0").undone is True


# Two at the same time.


def test_take_back__another_was_faster__row_says_that_it_is_undone(operator_api, two):
    done(operator_api, action="conf.update", body={"min_retrieve_tokens": 7})
    identifier = done(operator_api, action="conf.update", body={"min_retrieve_tokens": 8})["id"]
    operation = Operation.objects.get(pk=identifier)
    outcomes = []

    def take_it_back():
        outcomes.append(
            take_back(operation, actor=ACTOR, reason="too early", request_id="r", timeout=5)
        )

    def let_another_pass(method, path):
        two[1].before = talking
        take_it_back()

    two[1].before = let_another_pass

    take_it_back()

    assert [[one.error for one in told] for told in outcomes] == [[None, None], [None, None]]
    rows = OperationTarget.objects.filter(operation=identifier)
    assert set(rows.values_list("undone", "undo_error")) == {(True, "")}
    assert [agent.conf["min_retrieve_tokens"] for agent in two] == [7, 7]
    assert Operation.objects.filter(undo_of=identifier).count() == 2
