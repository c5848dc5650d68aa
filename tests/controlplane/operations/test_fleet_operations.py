"""One action on many agents, through the API."""

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent
from controlplane.modes.models import DesiredMode
from controlplane.operations.models import Operation, State
from engine.contract import Role
from tests.support.waiting import eventually

from .asking import done, five, start, states

pytestmark = pytest.mark.django_db(transaction=True)


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
    eventually(lambda: Operation.objects.get().state == State.SUCCEEDED)


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


def test_expiry__of_an_operation__each_mode_has_it(operator_api, fleet):
    five(fleet)

    done(operator_api, expires_in_s=1200)

    ends = DesiredMode.objects.filter(mode="freeze").values_list("expires_at", flat=True)
    assert all(timedelta(0) < end - timezone.now() < timedelta(seconds=1201) for end in ends)
    assert len(ends) == 5


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
    eventually(lambda: Operation.objects.get().state == State.SUCCEEDED)
