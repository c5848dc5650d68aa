"""What comes between: processes that end, calls that break down, agents that are removed."""

import threading

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import Agent
from controlplane.modes.models import DesiredMode
from controlplane.operations import running
from controlplane.operations.models import Operation, State
from controlplane.operations.runner import Runner
from tests.support.waiting import eventually

from .asking import done, five, refuse, start, states

pytestmark = pytest.mark.django_db(transaction=True)


def test_agent_removed_before_its_turn__is_a_failure_of_its_own(operator_api, fleet):
    simulated = five(fleet)
    identifier = start(
        operator_api, wait="0", strategy={"canary": 1, "pause_s": 0.5, "max_failures": None}
    ).json()["id"]
    eventually(lambda: simulated[0].freeze)
    Agent.objects.filter(name="worker-3").delete()

    eventually(lambda: State(Operation.objects.get(pk=identifier).state).is_final)
    target = Operation.objects.get().targets.get(agent="worker-3")
    # Known when the plan was made, and when the operation began.
    assert target.state in (State.FAILED, State.SUCCEEDED)


def test_call__breaks_down__is_an_unknown_outcome_and_the_others_go_on(operator_api, fleet, caplog):
    simulated = five(fleet)

    def break_down(method, path):
        raise RuntimeError("a bug")

    simulated[2].before = break_down

    operation = done(operator_api)

    assert states(operation)["worker-2"] == "unknown"
    assert list(states(operation).values()).count("succeeded") == 4
    assert "broke down" in caplog.text


def test_process_ends__in_the_middle__another_goes_on_and_every_outcome_is_true(
    operator_api, fleet, monkeypatch, loop_once
):
    simulated = [fleet(f"worker-{number:02}")[1] for number in range(12)]
    runner = Runner()
    monkeypatch.setattr("controlplane.operations.waiting.shared_runner", lambda: runner)
    entered = threading.Event()
    go_on = threading.Event()

    def hold(method, path):
        if method == "PUT":
            entered.set()
            go_on.wait(10)

    for agent in simulated[:4]:
        agent.before = hold
    identifier = start(operator_api, wait="0", concurrency=4).json()["id"]
    assert entered.wait(10)
    # As after kill -9: nothing is written any more, and the lease runs out.
    with monkeypatch.context() as patch:
        patch.setattr(running.Run, "_record", _die)
        go_on.set()
        runner.close()
    operation = Operation.objects.get(pk=identifier)
    assert operation.state == State.RUNNING
    counts = sorted(operation.targets.values_list("state", flat=True))
    assert counts == ["pending"] * 8 + ["running"] * 4
    simulated[1].freeze = False
    Operation.objects.update(lease_until=timezone.now())

    loop_once()
    eventually(lambda: State(Operation.objects.get(pk=identifier).state).is_final)

    outcomes = dict(Operation.objects.get(pk=identifier).targets.values_list("agent", "state"))
    assert outcomes.pop("worker-01") == "failed"
    assert set(outcomes.values()) == {"succeeded"}
    assert [agent.freeze for agent in simulated] == [True, False] + [True] * 10
    assert [agent.asked["PUT /freeze/enable"] for agent in simulated] == [1] * 12


def _die(*args):
    raise running.NotOurs


@pytest.fixture
def loop_once():
    from controlplane.reconcile.finishing import Finisher

    return lambda: Finisher().finish_abandoned(10)


def test_rollback__somebody_wished_otherwise_meanwhile__that_wish_stays(operator_api, fleet):
    simulated = five(fleet)
    identifier = start(
        operator_api,
        wait="0",
        strategy={"wave_size": 2, "pause_s": 0.5, "on_failure": "rollback"},
    ).json()["id"]
    eventually(lambda: simulated[0].freeze and simulated[1].freeze)
    simulated[2].before = refuse
    eventually(lambda: DesiredMode.objects.filter(agent="worker-0", value=True).exists())
    operator_api.put("/agents/worker-0/freeze/enable", headers={"x-kvplane-reason": "mine"})

    eventually(lambda: State(Operation.objects.get(pk=identifier).state).is_final)
    undone = dict(Operation.objects.get(pk=identifier).targets.values_list("agent", "undone"))
    assert (undone["worker-0"], undone["worker-1"]) == (False, True)
    assert simulated[0].freeze is True
    assert simulated[1].freeze is False
    assert DesiredMode.objects.get(agent="worker-0").change.reason == "mine"


def test_operation__secrets_cannot_be_read_any_more__fails_and_says_why(
    operator_api, fleet, agents, settings, monkeypatch
):
    fleet()
    runner = Runner()
    runner.close()
    with monkeypatch.context() as patch:
        patch.setattr("controlplane.operations.waiting.shared_runner", lambda: runner)
        identifier = start(
            operator_api, wait="0", action="conf.update", body={"api_key": "hush"}
        ).json()["id"]
    settings.SECRET_KEY = "another key, as after a loss of the first"

    fresh = Runner()
    fresh.start(Operation.objects.get(pk=identifier))
    operation = fresh.wait_for(Operation.objects.get().pk, 10)
    fresh.close()

    assert operation.state == State.FAILED
    assert operation.targets.get().error["error"] == "Secrets unreadable"
    assert AuditEntry.objects.filter(operation_id=identifier, stage="completed").count() == 1
    assert agents.requests == []
