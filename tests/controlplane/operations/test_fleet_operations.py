"""One action on many agents, through the API."""

import threading
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.modes.models import DesiredMode
from controlplane.operations import running
from controlplane.operations.models import Operation, State
from controlplane.operations.runner import Runner
from engine.contract import Role

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/operations/"


def start(api, wait="10", key=None, **asked):
    headers = {} if key is None else {"idempotency-key": key}
    asked = {"action": "freeze.enable", "selector": {"everybody": True}, **asked}
    return api.post(f"{URL}?wait={wait}", data=asked, format="json", headers=headers)


def done(api, **asked) -> dict:
    answer = start(api, **asked)
    assert answer.status_code == 200, answer.content
    return answer.json()


def states(operation: dict) -> dict[str, str]:
    return {target["agent"]: target["state"] for target in operation["targets"]}


def wait_until(condition, seconds=10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def refuse(method, path):
    raise NotSent("Connection refused")


def five(fleet):
    return [fleet(f"worker-{number}")[1] for number in range(5)]


def test_operation__everybody__each_agent_has_its_outcome_and_state(operator_api, fleet):
    simulated = five(fleet)

    operation = done(operator_api, reason="deploy")

    assert operation["state"] == "succeeded"
    assert set(states(operation).values()) == {"succeeded"}
    assert all(agent.freeze for agent in simulated)
    assert DesiredMode.objects.filter(mode="freeze", value=True).count() == 5
    entries = AuditEntry.objects.filter(operation_id=operation["id"]).order_by("id")
    assert [entry.stage for entry in entries] == ["requested"] + ["completed"] * 6
    assert {entry.agent for entry in entries} == {"", *states(operation)}
    assert {entry.reason for entry in entries} == {"deploy"}


def test_operation__without_wait__202_with_its_url(operator_api, fleet):
    five(fleet)

    answer = start(operator_api, wait="0")

    assert answer.status_code in (200, 202)
    assert answer["Location"].endswith(f"/api/v1/operations/{answer.json()['id']}")
    wait_until(lambda: Operation.objects.get().state == State.SUCCEEDED)


def test_operation__configuration__makes_a_revision_for_each_agent(operator_api, fleet):
    simulated = five(fleet)
    simulated[3].schema["min_retrieve_tokens"]["mutable"] = False

    operation = done(operator_api, action="conf.update", body={"min_retrieve_tokens": 7})

    assert operation["state"] == "partially_failed"
    assert states(operation)["worker-3"] == "failed"
    active = ConfigRevision.objects.filter(state="active").order_by("agent")
    assert [row.values["min_retrieve_tokens"] for row in active] == [7, 7, 7, 0, 7]
    assert ConfigRevision.objects.get(state="failed").agent == "worker-3"


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"agents": ["a-w1", "b-w0"]}, {"a-w1", "b-w0"}),
        ({"engines": ["a"]}, {"a-w0", "a-w1"}),
        ({"engines": ["a"], "roles": ["scheduler"]}, {"a-s"}),
        ({"labels": {"zone": "x"}}, {"a-w1", "b-w0"}),
        ({"labels": {"zone": "x"}, "engines": ["b"]}, {"b-w0"}),
        ({"everybody": True}, {"a-w0", "a-w1", "b-w0"}),
    ],
)
def test_selector__given__fits_those_and_no_others(operator_api, fleet, selector, expected):
    fleet("a-s", engine="a", role=Role.SCHEDULER)
    fleet("a-w0", engine="a")
    one, _ = fleet("a-w1", engine="a")
    other, _ = fleet("b-w0", engine="b")
    Agent.objects.filter(pk=one.pk).update(labels={"zone": "x"})
    other.engine.labels = {"zone": "x"}
    other.engine.save()
    left, _ = fleet("b-w1", engine="b")
    Agent.objects.filter(pk=left.pk).update(left_at=timezone.now())

    operation = done(operator_api, selector=selector)

    assert set(states(operation)) == expected


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"selector": {}}, "selector"),
        ({"selector": {"agents": ["nobody"]}}, "nobody"),
        ({"selector": {"engines": ["none"]}}, "none"),
        ({"selector": {"labels": {"zone": "q"}}}, "selector"),
        ({"selector": {"agent": ["worker-0"]}}, "selector.agent"),
        ({"action": "freeze.eneble"}, "action"),
        ({"stratgy": {}}, "stratgy"),
        ({"body": {"a": 1}}, "body"),
        ({"action": "conf.update"}, "body"),
        ({"action": "bypass.add"}, "backend_name"),
        ({"action": "cache.store", "parameters": {"tokens_mock": "9,1"}}, "tokens_mock"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1000}, "concurrency"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"expires_in_s": 60, "action": "cache.clear"}, "expires_at"),
        ({"expires_in_s": 60, "expires_at": "2030-01-01T00:00:00Z"}, "expires_in_s"),
        ({"strategy": {"wave_size": -1}}, "strategy.wave_size"),
        ({"strategy": {"on_failure": "rollback"}, "action": "cache.clear"}, "on_failure"),
        ({"reason": "x" * 501}, "reason"),
    ],
)
def test_operation__bad_input__400_names_the_field_and_nothing_is_recorded(
    operator_api, fleet, agents, asked, named
):
    fleet()

    answer = start(operator_api, **asked)

    assert answer.status_code == 400, answer.content
    assert named in answer.json()["message"]
    assert not Operation.objects.exists()
    assert agents.requests == []


@pytest.mark.parametrize("wait", ["x", "-1", "61", "nan"])
def test_operation__bad_wait__400(operator_api, fleet, wait):
    fleet()

    assert "wait" in start(operator_api, wait=wait).json()["message"]
    assert not Operation.objects.exists()


def test_operation__viewer__403(viewer_api, fleet):
    fleet()

    assert start(viewer_api).status_code == 403


def test_idempotency_key__same_request__is_the_same_operation(operator_api, fleet):
    simulated = five(fleet)
    first = done(operator_api, key="k-1")
    simulated[0].freeze = False

    again = done(operator_api, key="k-1")

    assert again["id"] == first["id"]
    assert simulated[0].freeze is False
    assert Operation.objects.count() == 1


def test_idempotency_key__other_request__409_and_nothing_is_done(operator_api, fleet):
    five(fleet)
    done(operator_api, key="k-1")

    answer = start(operator_api, key="k-1", action="freeze.disable")

    assert (answer.status_code, answer.json()["error"]) == (409, "Idempotency key reused")
    assert Operation.objects.count() == 1


def test_idempotency_key__same_key_at_the_same_time__one_operation(operator_api, fleet):
    five(fleet)
    barrier = threading.Barrier(4)
    identifiers = []

    def send():
        from django.db import connections

        barrier.wait()
        try:
            identifiers.append(start(operator_api, key="race").json()["id"])
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(identifiers) == 4
    assert len(set(identifiers)) == 1


def test_concurrency__bounded__never_more_calls_at_once(operator_api, fleet):
    under_way, most = [0], [0]
    lock = threading.Lock()

    def slow(method, path):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
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
    wait_until(lambda: simulated[0].freeze)

    answer = operator_api.post(f"{URL}{identifier}/cancel")
    assert answer.status_code == 200

    wait_until(lambda: Operation.objects.get().state == State.CANCELLED)
    assert not any(agent.freeze for agent in simulated[1:])
    assert AuditEntry.objects.filter(action="operation.cancel").count() == 1
    assert operator_api.post(f"{URL}{identifier}/cancel").status_code == 409


def test_cancel__twice__is_recorded_once(operator_api, fleet):
    five(fleet)
    identifier = start(operator_api, wait="0", strategy={"canary": 1, "pause_s": 60}).json()["id"]

    for _ in range(2):
        assert operator_api.post(f"{URL}{identifier}/cancel").status_code in (200, 409)

    wait_until(lambda: Operation.objects.get().state == State.CANCELLED)
    assert AuditEntry.objects.filter(action="operation.cancel").count() == 1


def test_retry__some_failed__only_they_are_called_again(operator_api, fleet):
    simulated = five(fleet)
    simulated[1].before = refuse

    def lose(method, path):
        raise TimedOut("the time is up")

    simulated[4].before = lose
    first = done(operator_api)
    assert (states(first)["worker-1"], states(first)["worker-4"]) == ("failed", "unknown")
    for agent in simulated:
        agent.asked.clear()
        agent.before = lambda method, path: None

    retry = operator_api.post(f"{URL}{first['id']}/retry?wait=10").json()

    assert retry["retry_of"] == first["id"]
    assert states(retry) == {"worker-1": "succeeded", "worker-4": "succeeded"}
    assert [bool(agent.asked) for agent in simulated] == [False, True, False, False, True]


def test_retry__all_succeeded__409(operator_api, fleet):
    five(fleet)
    operation = done(operator_api)

    answer = operator_api.post(f"{URL}{operation['id']}/retry")

    assert (answer.status_code, answer.json()["error"]) == (409, "Nothing to retry")


def test_retry__secrets_in_the_body__are_sent_again_and_not_shown(operator_api, fleet, agents):
    import json

    from tests.controlplane.wire import reply

    fleet()
    sent = []

    def respond(request):
        if request.method == "POST":
            sent.append(json.loads(request.body))
            return reply({"error": "e", "message": "m"}, 400)
        return reply({"remote_url": None})

    agents.respond = respond
    body = {"remote_url": "redis://u:hush@h:1"}
    first = done(operator_api, action="conf.update", body=body)
    answer = operator_api.post(f"{URL}{first['id']}/retry?wait=10")

    assert sent == [body, body]
    assert "hush" not in str(first) + answer.content.decode()


def test_expiry__of_an_operation__each_mode_has_it(operator_api, fleet):
    five(fleet)

    done(operator_api, expires_in_s=1200)

    ends = DesiredMode.objects.filter(mode="freeze").values_list("expires_at", flat=True)
    assert all(timedelta(0) < end - timezone.now() < timedelta(seconds=1201) for end in ends)
    assert len(ends) == 5


def test_agent_removed_before_its_turn__is_a_failure_of_its_own(operator_api, fleet):
    simulated = five(fleet)
    identifier = start(
        operator_api, wait="0", strategy={"canary": 1, "pause_s": 0.5, "max_failures": None}
    ).json()["id"]
    wait_until(lambda: simulated[0].freeze)
    Agent.objects.filter(name="worker-3").delete()

    wait_until(lambda: State(Operation.objects.get(pk=identifier).state).is_final)
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
    wait_until(lambda: State(Operation.objects.get(pk=identifier).state).is_final)

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


def test_wait__half_of_the_threads_wait_already__answers_at_once(operator_api, fleet, monkeypatch):
    from controlplane.operations import waiting

    (simulated, *_) = five(fleet)
    go_on = threading.Event()
    simulated.before = lambda method, path: go_on.wait(10)
    monkeypatch.setattr(waiting, "_waiting", threading.BoundedSemaphore(1))
    waiting._waiting.acquire()

    answer = start(operator_api, wait="10")

    assert answer.status_code == 202
    go_on.set()
    wait_until(lambda: Operation.objects.get().state == State.SUCCEEDED)


def test_rollback__somebody_wished_otherwise_meanwhile__that_wish_stays(operator_api, fleet):
    simulated = five(fleet)
    identifier = start(
        operator_api,
        wait="0",
        strategy={"wave_size": 2, "pause_s": 0.5, "on_failure": "rollback"},
    ).json()["id"]
    wait_until(lambda: simulated[0].freeze and simulated[1].freeze)
    simulated[2].before = refuse
    wait_until(lambda: DesiredMode.objects.filter(agent="worker-0", value=True).exists())
    operator_api.put("/agents/worker-0/freeze/enable", headers={"x-kvplane-reason": "mine"})

    wait_until(lambda: State(Operation.objects.get(pk=identifier).state).is_final)
    undone = dict(Operation.objects.get(pk=identifier).targets.values_list("agent", "undone"))
    assert (undone["worker-0"], undone["worker-1"]) == (False, True)
    assert simulated[0].freeze is True
    assert simulated[1].freeze is False
    assert DesiredMode.objects.get(agent="worker-0").change.reason == "mine"


def test_retry__its_time_is_over__400_and_nothing_is_recorded(operator_api, fleet):
    simulated = five(fleet)
    simulated[0].before = refuse
    first = done(operator_api, expires_in_s=1)
    wait_until(lambda: timezone.now().isoformat() > first["options"]["expires_at"])

    answer = operator_api.post(f"{URL}{first['id']}/retry?wait=10")

    assert answer.status_code == 400
    assert "expires_at" in answer.json()["message"]
    assert Operation.objects.count() == 1


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
