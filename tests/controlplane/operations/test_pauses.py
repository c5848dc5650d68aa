"""Operations that pause between their waves."""

import time

import pytest
from django.db import InterfaceError
from django.utils import timezone

from controlplane.operations import pausing
from controlplane.operations.models import Operation, State
from controlplane.operations.runner import Runner
from controlplane.reconcile.finishing import Finisher
from tests.support.waiting import eventually

from .asking import URL, done, start, states

pytestmark = pytest.mark.django_db(transaction=True)
LONG = {"canary": 1, "pause_s": 600}
PAUSE_S = 1.5


@pytest.fixture
def runner(monkeypatch):
    """A runner of the test's own, so that it can end."""
    made = Runner()
    monkeypatch.setattr("controlplane.operations.waiting.shared_runner", lambda: made)
    yield made
    made.close()


def begin_paused(api, strategy, **asked) -> str:
    identifier = start(api, wait="0", strategy=strategy, **asked).json()["id"]
    eventually(lambda: Operation.objects.get(pk=identifier).paused_until is not None)
    return identifier


def test_pause__of_more_operations_than_there_are_threads__holds_up_nobody(
    operator_api, fleet, runner
):
    for number in range(20):
        fleet(f"w{number:02}")
    for number in range(10):
        names = [f"w{2 * number:02}", f"w{2 * number + 1:02}"]
        begin_paused(operator_api, LONG, selector={"agents": names})

    operation = done(operator_api, action="freeze.disable")

    assert operation["state"] == "succeeded"
    assert Operation.objects.filter(state=State.RUNNING).count() == 10


def test_pause__database_is_away__is_asked_now_and_then_and_again_when_it_is_back(
    operator_api, fleet, runner, monkeypatch
):
    for number in range(2):
        fleet(f"w{number}")
    identifier = begin_paused(operator_api, LONG)
    still_ours, asked = pausing._still_ours, []

    def away(operations):
        asked.append(time.monotonic())
        if len(asked) < 4:
            raise InterfaceError("the connection is closed")
        return still_ours(operations)

    monkeypatch.setattr(pausing, "_still_ours", away)
    eventually(lambda: len(asked) > 4, seconds=20)
    operator_api.post(f"{URL}{identifier}/cancel")
    eventually(lambda: Operation.objects.get().state == State.CANCELLED, seconds=5)

    assert asked[3] - asked[0] >= 3 * pausing.LOOK_S


def test_pause__cancelled__ends_at_once_and_calls_no_more(operator_api, fleet, runner):
    simulated = [fleet(f"w{number}")[1] for number in range(2)]
    identifier = begin_paused(operator_api, LONG)

    operator_api.post(f"{URL}{identifier}/cancel")

    eventually(lambda: Operation.objects.get().state == State.CANCELLED, seconds=5)
    assert states(operator_api.get(f"{URL}{identifier}/").json()) == {
        "w0": "succeeded",
        "w1": "cancelled",
    }
    assert simulated[1].asked == {}


def test_pause__is_told(operator_api, fleet, runner):
    for number in range(2):
        fleet(f"w{number}")
    identifier = begin_paused(operator_api, LONG)

    shown = operator_api.get(f"{URL}{identifier}/").json()

    assert shown["state"] == "running"
    assert shown["paused_until"] > shown["created_at"]


def test_pause__over__is_told_no_more(operator_api, fleet, runner):
    for number in range(2):
        fleet(f"w{number}")

    operation = done(operator_api, strategy={"canary": 1, "pause_s": 0.1})

    assert operation["state"] == "succeeded"
    assert operation["paused_until"] is None


def test_pause__process_ends__another_waits_only_the_rest(operator_api, fleet, runner):
    called = []
    for number in range(2):
        _, simulated = fleet(f"w{number}")
        simulated.before = lambda method, path: called.append(time.monotonic())
    identifier = begin_paused(operator_api, {"canary": 1, "pause_s": PAUSE_S})
    runner.close()
    # Time in which no process has it: this is what the other one must not wait again.
    time.sleep(PAUSE_S / 2)
    assert Operation.objects.get(pk=identifier).state == State.RUNNING

    Finisher().finish_abandoned(10)
    eventually(lambda: State(Operation.objects.get(pk=identifier).state).is_final)

    assert Operation.objects.get(pk=identifier).state == State.SUCCEEDED
    assert PAUSE_S <= called[1] - called[0] < 1.5 * PAUSE_S


def test_pause__longer_than_the_lease__nobody_takes_it_over(
    operator_api, fleet, runner, monkeypatch
):
    from datetime import timedelta

    from controlplane.operations import pausing, running

    for module in (pausing, running):
        monkeypatch.setattr(module, "LEASE", timedelta(seconds=1))
    monkeypatch.setattr(pausing, "RENEW_S", 0.2)
    for number in range(2):
        fleet(f"w{number}")
    identifier = begin_paused(operator_api, LONG)
    first = Operation.objects.get(pk=identifier).lease_until

    eventually(lambda: timezone.now() > first)

    assert Operation.objects.get(pk=identifier).lease_until > timezone.now()


def test_pause__taken_over_by_another_process__is_not_gone_on_with_here(
    operator_api, fleet, runner
):
    simulated = [fleet(f"w{number}")[1] for number in range(2)]
    identifier = begin_paused(operator_api, {"canary": 1, "pause_s": PAUSE_S})

    Operation.objects.filter(pk=identifier).update(lease_owner="another:place:1:x")
    pause_is_over = time.monotonic() + 2 * PAUSE_S
    eventually(lambda: time.monotonic() > pause_is_over)

    assert simulated[1].asked == {}
    assert runner.wait_for(Operation.objects.get().pk, 0).state == State.RUNNING


def test_pause__pauses_between_every_two_waves(operator_api, fleet, runner):
    called = []
    for number in range(3):
        _, simulated = fleet(f"w{number}")
        simulated.before = lambda method, path: called.append(time.monotonic())

    done(operator_api, strategy={"wave_size": 1, "pause_s": 0.3})

    assert called[1] - called[0] >= 0.3
    assert called[2] - called[1] >= 0.3


def test_pause__longer_than_the_wish_lasts__later_agents_are_not_called(
    operator_api, fleet, runner
):
    simulated = [fleet(f"w{number}")[1] for number in range(2)]

    operation = done(operator_api, strategy={"canary": 1, "pause_s": 1.5}, expires_in_s=1)

    first, second = operation["targets"]
    assert (first["state"], second["state"]) == ("succeeded", "failed")
    assert "expires_at" in second["error"]["message"]
    assert simulated[1].asked == {}
