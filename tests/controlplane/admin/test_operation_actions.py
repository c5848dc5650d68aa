"""Cancelling, retrying and taking back operations from the admin."""

import threading
from uuid import uuid4

import pytest

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.forwarding.transport import NotSent
from controlplane.modes.models import DesiredMode
from controlplane.operations.models import Operation, OperationTarget, State
from tests.support.waiting import eventually

from ..operations.asking import start, states

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/operations/operation/"


def page(name: str) -> str:
    return f"{LIST}confirm/{name}/"


def do(client, name, *operations, reason="it went wrong", **more):
    keys = "\n".join(str(key) for key in operations)
    sent = {"keys": keys, "reason": reason, "key": uuid4().hex}
    return client.post(page(name), sent, follow=True, **more)


def buttons(client, operation) -> set[str]:
    text = client.get(f"{LIST}{operation}/change/").content.decode()
    return {name for name in ("cancel", "retry", "roll_back") if f'data-tool="{name}"' in text}


def refuse(method, path):
    raise NotSent("Connection refused")


@pytest.fixture
def frozen(fleet, operator_api):
    """Two frozen agents, and the operation that did it."""
    made = [fleet(f"worker-{number}") for number in range(2)]
    return start(operator_api).json(), made


def test_roll_back__finished_operation__each_agent_is_as_before(page_as, frozen):
    operation, made = frozen
    client = page_as(UserRole.OPERATOR)
    assert buttons(client, operation["id"]) == {"roll_back"}

    answer = do(client, "roll_back", operation["id"], headers={"x-request-id": "back"})

    assert [simulated.freeze for _, simulated in made] == [False, False]
    assert "Taken back on 2 agents." in answer.content.decode()
    assert set(
        OperationTarget.objects.filter(operation=operation["id"]).values_list("undone", flat=True)
    ) == {True}
    undone = Operation.objects.filter(undo_of=operation["id"])
    assert {entry.state for entry in undone} == {"succeeded"}
    assert {(entry.actor_name, entry.request_id) for entry in undone} == {("operator", "back")}
    assert {entry.reason for entry in undone} == {"it went wrong"}
    entries = AuditEntry.objects.filter(request_id="back")
    assert sorted((entry.action, entry.stage, entry.agent) for entry in entries) == [
        ("freeze.disable", stage, f"worker-{number}")
        for stage in ("completed", "requested")
        for number in range(2)
    ]
    shown = client.get(f"{LIST}{operation['id']}/change/").content.decode()
    assert "2 operations</a>" in shown
    ancestor = client.get(f"{LIST}{undone.first().pk}/change/").content.decode()
    assert f'href="{LIST}{operation["id"]}/change/"' in ancestor


def test_roll_back__again__says_that_it_was_taken_back(page_as, frozen):
    operation, _ = frozen
    client = page_as(UserRole.OPERATOR)
    do(client, "roll_back", operation["id"])
    count = Operation.objects.count()

    answer = do(client, "roll_back", operation["id"])

    assert answer.status_code == 409
    assert "on no agent on which it still stands" in answer.content.decode()
    assert Operation.objects.count() == count


def test_roll_back__agent_that_somebody_changed_since__is_left_and_told(
    page_as, frozen, operator_api
):
    operation, made = frozen
    operator_api.put("/agents/worker-0/freeze/enable")

    answer = do(page_as(UserRole.OPERATOR), "roll_back", operation["id"])

    text = answer.content.decode()
    assert "Not taken back on 1 of 2 agents: worker-0:" in text
    assert [simulated.freeze for _, simulated in made] == [True, False]
    assert DesiredMode.objects.get(agent="worker-0").value is True


def test_roll_back__of_a_configuration__restores_the_parent(page_as, fleet, operator_api):
    _, simulated = fleet("worker-0")
    asked = {"action": "conf.update", "body": {"min_retrieve_tokens": 64}}
    operation = start(operator_api, **asked).json()

    do(page_as(UserRole.OPERATOR), "roll_back", operation["id"])

    assert simulated.conf["min_retrieve_tokens"] == 0


def test_roll_back__what_cannot_be__has_no_button_and_is_refused(page_as, fleet, operator_api):
    fleet("worker-0")
    operation = start(operator_api, action="cache.clear").json()
    client = page_as(UserRole.OPERATOR)

    assert buttons(client, operation["id"]) == set()
    answer = do(client, "roll_back", operation["id"])
    assert answer.status_code == 409
    assert "which leaves nothing to undo" in answer.content.decode()


def test_retry__agent_that_failed__is_called_again_for_the_new_reason(page_as, fleet, operator_api):
    _, good = fleet("worker-0")
    _, bad = fleet("worker-1")
    bad.before = refuse
    operation = start(operator_api, reason="first").json()
    assert states(operation) == {"worker-0": "succeeded", "worker-1": "failed"}
    bad.before = lambda method, path: None
    client = page_as(UserRole.OPERATOR)
    assert buttons(client, operation["id"]) == {"retry", "roll_back"}

    answer = do(client, "retry", operation["id"], reason="it answers again")

    retry = Operation.objects.get(retry_of=operation["id"])
    assert (retry.state, retry.reason) == ("succeeded", "it answers again")
    assert bad.freeze is True
    assert good.asked["PUT /freeze/enable"] == 1
    assert answer.redirect_chain[-1][0] == f"{LIST}{retry.pk}/change/"
    assert f'href="{LIST}{operation["id"]}/change/"' in answer.content.decode()


def test_retry__nothing_failed__says_so(page_as, frozen):
    operation, _ = frozen

    answer = do(page_as(UserRole.OPERATOR), "retry", operation["id"])

    assert answer.status_code == 409
    assert "only agents that failed" in answer.content.decode()


def test_cancel__under_way__calls_nobody_else_and_keeps_the_reason(page_as, fleet, operator_api):
    go_on = threading.Event()
    _, first = fleet("worker-0")
    _, second = fleet("worker-1")
    first.before = lambda method, path: go_on.wait(10)
    operation = start(operator_api, wait="0", strategy={"wave_size": 1}).json()
    eventually(lambda: first.asked.get("PUT /freeze/enable"))
    client = page_as(UserRole.OPERATOR)
    assert buttons(client, operation["id"]) == {"cancel"}

    answer = do(client, "cancel", operation["id"], reason="wrong agents")

    go_on.set()
    assert "is cancelled" in answer.content.decode()
    eventually(lambda: State(Operation.objects.get().state).is_final)
    assert second.freeze is False
    assert AuditEntry.objects.get(action="operation.cancel").reason == "wrong agents"


def test_cancel__finished__is_told_and_the_others_are_cancelled(page_as, frozen):
    operation, _ = frozen

    answer = do(page_as(UserRole.OPERATOR), "cancel", operation["id"])

    assert "there is nothing to cancel" in answer.content.decode()


@pytest.mark.parametrize("name", ["cancel", "retry", "roll_back"])
def test_action__viewer_or_no_reason__nothing_is_done(page_as, frozen, name):
    operation, made = frozen
    viewer = page_as(UserRole.VIEWER)
    count = Operation.objects.count()

    assert buttons(viewer, operation["id"]) == set()
    assert do(viewer, name, operation["id"]).status_code == 403
    answer = do(page_as(UserRole.OPERATOR), name, operation["id"], reason="")
    assert answer.context["form"].errors.keys() == {"reason"}
    assert Operation.objects.count() == count
    assert [simulated.freeze for _, simulated in made] == [True, True]


def test_page__outcome_of_each_agent__is_shown_with_links(page_as, frozen):
    operation, _ = frozen

    text = page_as(UserRole.VIEWER).get(f"{LIST}{operation['id']}/change/").content.decode()

    for number in range(2):
        assert f'<a href="/admin/fleet/agent/named/worker-{number}/">worker-{number}</a>' in text
    assert f"/admin/operations/operationtarget/?operation={operation['id']}" in text
    assert f"/admin/audit/auditentry/?operation_id={operation['id']}" in text
