"""Operations that cannot be carried out any more."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from controlplane.audit.authorship import Authorship
from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision
from controlplane.configuration.services import Proposal
from controlplane.fleet.models import Agent
from controlplane.modes import services as modes
from controlplane.modes.models import Mode, ModeChange
from controlplane.modes.services import Switch, Wish
from controlplane.operations.models import Operation, State
from controlplane.operations.runner import Runner
from engine.contract import ContractError

from ..conftest import ACTOR
from .asking import start

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def closed_runner(monkeypatch):
    runner = Runner()
    runner.close()
    monkeypatch.setattr("controlplane.operations.waiting.shared_runner", lambda: runner)


def left_by_a_dead_process(operation: Operation) -> None:
    operation.targets.filter(agent="w0").update(state=State.RUNNING)
    Operation.objects.filter(pk=operation.pk).update(state=State.RUNNING, lease_until=None)


def carry_out(operation: Operation) -> Operation:
    runner = Runner()
    runner.start(operation)
    finished = runner.wait_for(operation.pk, 10)
    runner.close()
    return finished


def test_operation_that_cannot_be_read__after_an_agent_was_called__leaves_no_pending_revision(
    operator_api, fleet, settings, closed_runner
):
    simulated = [fleet(f"w{number}")[1] for number in range(2)]
    body = {"min_retrieve_tokens": 9, "api_key": "hush"}
    start(operator_api, wait="0", action="conf.update", body=body)
    operation = Operation.objects.get()
    by = Authorship(ACTOR, "", "r", operation.pk)
    with transaction.atomic():
        deadline = timezone.now() + timedelta(minutes=5)
        configuration.propose("w0", Proposal(body, deadline), by)
    left_by_a_dead_process(operation)
    Agent.objects.update(encrypted_token="")
    settings.SECRET_KEY = "another key, as after a loss of the first"

    finished = carry_out(operation)

    assert finished.state == State.UNKNOWN
    assert dict(operation.targets.values_list("agent", "state")) == {
        "w0": "unknown",
        "w1": "failed",
    }
    assert ConfigRevision.objects.get(agent="w0").state == "unknown"
    # Nobody has to wait for it.
    change = {"min_retrieve_tokens": 7}
    assert operator_api.post("/agents/w0/conf", data=change, format="json").status_code == 200
    assert simulated[0].conf["min_retrieve_tokens"] == 7


def test_operation_that_breaks_down__after_an_agent_was_called__leaves_no_pending_mode(
    operator_api, fleet, monkeypatch, closed_runner
):
    for number in range(2):
        fleet(f"w{number}")
    start(operator_api, wait="0")
    operation = Operation.objects.get()
    by = Authorship(ACTOR, "", "r", operation.pk)
    with transaction.atomic():
        modes.propose("w0", Wish(Switch(Mode.FREEZE), True), by)
    left_by_a_dead_process(operation)

    def unreadable(*_: object) -> None:
        raise ContractError(400, "Invalid parameter", "no version reads this")

    monkeypatch.setattr("controlplane.operations.running.call_of", unreadable)

    carry_out(operation)

    assert ModeChange.objects.get(agent="w0").state == "unknown"


def test_operation__bug_of_ours__is_not_taken_over_again_and_again(
    operator_api, fleet, monkeypatch, caplog
):
    from controlplane.operations import running

    fleet("w0")

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(running.Run, "_import_configurations", broken)

    answer = start(operator_api, wait="10")

    assert answer.json()["state"] == "failed"
    assert "broke down" in caplog.text
