"""Waves, bounds and cancelling: who is called when, and who not any more."""

import threading
import time

import pytest

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.modes.models import DesiredMode
from controlplane.operations.models import Operation, State
from tests.support.waiting import eventually

from .asking import URL, done, five, refuse, start, states

pytestmark = pytest.mark.django_db(transaction=True)


def test_concurrency__bounded__never_more_calls_at_once(operator_api, fleet):
    under_way, most = [0], [0]
    lock = threading.Lock()

    def slow(method, path):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        # An agent that takes its time, so that calls overlap.
        time.sleep(0.02)
        with lock:
            under_way[0] -= 1

    for number in range(12):
        fleet(f"worker-{number:02}")[1].before = slow

    operation = done(operator_api, concurrency=3)

    assert operation["state"] == "succeeded"
    assert most[0] == 3


def test_waves__canary_fails__the_others_are_not_called(operator_api, fleet):
    simulated = five(fleet)
    simulated[0].before = refuse

    operation = done(operator_api, strategy={"canary": 1, "wave_size": 2})

    assert operation["state"] == "failed"
    assert states(operation) == {
        "worker-0": "failed",
        **{f"worker-{number}": "cancelled" for number in range(1, 5)},
    }
    assert not any(agent.asked for agent in simulated[1:])


def test_waves__in_order__one_after_the_other_with_a_pause(operator_api, fleet):
    simulated = five(fleet)
    called = []
    for number, agent in enumerate(simulated):
        agent.before = lambda method, path, number=number: called.append((number, time.monotonic()))

    operation = done(operator_api, strategy={"canary": 1, "wave_size": 2, "pause_s": 0.2})

    assert [target["wave"] for target in operation["targets"]] == [0, 1, 1, 2, 2]
    assert [sorted(n for n, _ in called[a:b]) for a, b in ((0, 1), (1, 3), (3, 5))] == [
        [0],
        [1, 2],
        [3, 4],
    ]
    assert called[1][1] - called[0][1] >= 0.2
    assert called[3][1] - called[2][1] >= 0.2


def test_waves__failures_within_what_is_borne__goes_on(operator_api, fleet):
    simulated = five(fleet)
    simulated[1].before = refuse

    operation = done(operator_api, strategy={"wave_size": 1, "max_failures": 1})

    assert operation["state"] == "partially_failed"
    assert list(states(operation).values()).count("succeeded") == 4


def test_waves__rollback__those_that_did_it_take_it_back(operator_api, fleet):
    simulated = five(fleet)
    done(operator_api, action="freeze.disable")
    done(operator_api, selector={"agents": ["worker-1"]})
    simulated[3].before = refuse

    operation = done(
        operator_api,
        strategy={"wave_size": 2, "max_failures": 0, "on_failure": "rollback"},
    )

    assert operation["state"] == "failed"
    # One was frozen before, and stays so.
    assert [agent.freeze for agent in simulated] == [False, True, False, False, False]
    undone = {target["agent"]: target["undone"] for target in operation["targets"]}
    assert undone == {
        "worker-0": True,
        "worker-1": True,
        "worker-2": True,
        "worker-3": False,
        "worker-4": False,
    }
    back = Operation.objects.filter(undo_of=operation["id"])
    assert {row.action for row in back} == {"freeze.disable"}
    desired = {row.agent: row.value for row in DesiredMode.objects.filter(mode="freeze")}
    assert desired["worker-0"] is False
    assert desired["worker-1"] is True


def test_waves__rollback_of_configurations__revisions_lead_back(operator_api, fleet):
    simulated = five(fleet)
    simulated[2].before = refuse

    operation = done(
        operator_api,
        action="conf.update",
        body={"min_retrieve_tokens": 9},
        strategy={"wave_size": 1, "on_failure": "rollback"},
    )

    assert operation["state"] == "failed"
    assert [agent.conf["min_retrieve_tokens"] for agent in simulated] == [0] * 5
    rolled = ConfigRevision.objects.filter(source="rollback", state="active")
    assert sorted(row.agent for row in rolled) == ["worker-0", "worker-1"]


def test_cancel__between_waves__calls_no_more(operator_api, fleet):
    simulated = five(fleet)
    identifier = start(operator_api, wait="0", strategy={"canary": 1, "pause_s": 60}).json()["id"]
    eventually(lambda: simulated[0].freeze)

    answer = operator_api.post(f"{URL}{identifier}/cancel")
    assert answer.status_code == 200

    eventually(lambda: Operation.objects.get().state == State.CANCELLED)
    assert not any(agent.freeze for agent in simulated[1:])
    assert AuditEntry.objects.filter(action="operation.cancel").count() == 1
    assert operator_api.post(f"{URL}{identifier}/cancel").status_code == 409


def test_cancel__twice__is_recorded_once(operator_api, fleet):
    five(fleet)
    identifier = start(operator_api, wait="0", strategy={"canary": 1, "pause_s": 60}).json()["id"]

    for _ in range(2):
        assert operator_api.post(f"{URL}{identifier}/cancel").status_code in (200, 409)

    eventually(lambda: Operation.objects.get().state == State.CANCELLED)
    assert AuditEntry.objects.filter(action="operation.cancel").count() == 1
