"""`manage.py operations`: looking, cancelling, repeating, taking back."""

import uuid

import pytest
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.forwarding.transport import NotSent
from controlplane.modes.models import DesiredMode
from controlplane.operations.models import Operation, State
from controlplane.reconcile.finishing import Finisher
from tests.controlplane.commands.running import run, run_json

pytestmark = pytest.mark.django_db(transaction=True)


def refuse(method, path):
    raise NotSent("Connection refused")


@pytest.fixture
def simulated(fleet):
    return [fleet(f"w{number}")[1] for number in range(3)]


def freeze(*arguments: str) -> str:
    return run_json("freeze", "enable", "--all", *arguments).document["id"]


def test_list__filters__choose(simulated):
    first = freeze()
    run("cache", "clear", "--agent", "w0", "--reason", "full")

    def listed(*arguments: str) -> list[str]:
        found = run_json("operations", "list", *arguments).document["operations"]
        return [operation["action"] for operation in found]

    assert listed() == ["cache.clear", "freeze.enable"]
    assert listed("--limit", "1") == ["cache.clear"]
    assert listed("--action", "freeze.enable") == ["freeze.enable"]
    assert listed("--agent", "w1") == ["freeze.enable"]
    assert listed("--until", "2020-01-01T00:00Z") == []
    assert run("operations", "list", "--since", "x").exit == 2
    assert first in run("operations", "list").out


@pytest.mark.parametrize("verb", ["show", "cancel", "retry", "rollback"])
@pytest.mark.parametrize(("identifier", "expected"), [("x", 2), (str(uuid.uuid4()), 5)])
def test_any__unknown__says_so(db, verb, identifier, expected):
    assert run("operations", verb, identifier).exit == expected


def test_show__is_what_the_api_shows(simulated, viewer_api):
    identifier = freeze("--reason", "deploy")

    shown = run_json("operations", "show", identifier)

    document, by_api = shown.document, viewer_api.get(f"/api/v1/operations/{identifier}").json()
    assert "http://testserver" + document.pop("targets_url") == by_api.pop("targets_url")
    assert document == by_api
    assert "deploy" in run("operations", "show", identifier).out


def test_cancel__waiting_one__calls_no_agent(simulated):
    identifier = freeze("--wait", "0")
    dry = run_json("operations", "cancel", identifier, "--dry-run")
    assert dry.document["not_called"] == ["w0", "w1", "w2"]
    assert Operation.objects.get().cancel_requested_at is None

    assert run("operations", "cancel", identifier).exit == 0

    assert AuditEntry.objects.get(action="operation.cancel").actor_kind == "command"
    Finisher().finish_abandoned(10)
    wait_for(identifier, State.CANCELLED)
    assert not any(agent.freeze for agent in simulated)
    assert run("operations", "cancel", identifier).exit == 5


def wait_for(identifier: str, state: State) -> None:
    from controlplane.operations.runner import shared_runner

    assert shared_runner().wait_for(uuid.UUID(identifier), 10).state == state


def test_retry__calls_those_again_that_failed(simulated):
    simulated[1].before = refuse
    identifier = freeze()
    simulated[1].before = lambda method, path: None

    dry = run_json("operations", "retry", identifier, "--dry-run")
    assert [(call["agent"], call["url"]) for call in dry.document["calls"]] == [
        ("w1", "http://127.0.0.1:7001/freeze/enable")
    ]
    assert not simulated[1].freeze
    retried = run_json("operations", "retry", identifier)

    assert (retried.exit, retried.document["retry_of"]) == (0, identifier)
    assert simulated[1].freeze
    assert run("operations", "retry", retried.document["id"]).exit == 5


def test_rollback__brings_agents_back__one_operation_each(simulated):
    simulated[2].before = refuse
    identifier = freeze()
    simulated[2].before = lambda method, path: None
    dry = run_json("operations", "rollback", identifier, "--dry-run")
    assert [(call["agent"], call["url"]) for call in dry.document["calls"]] == [
        ("w1", "http://127.0.0.1:7001/freeze/disable"),
        ("w0", "http://127.0.0.1:7000/freeze/disable"),
    ]
    assert simulated[0].freeze

    finished = run_json("operations", "rollback", identifier, "--reason", "too early")

    assert finished.exit == 0
    assert [agent.freeze for agent in simulated] == [False, False, False]
    undoing = Operation.objects.filter(undo_of=identifier)
    assert {(one.actor_kind, one.reason) for one in undoing} == {("command", "too early")}
    entries = AuditEntry.objects.filter(operation_id__in=undoing.values("pk"))
    assert sorted(entries.values_list("stage", flat=True)) == ["completed"] * 2 + ["requested"] * 2
    assert set(DesiredMode.objects.filter(mode="freeze").values_list("value", flat=True)) == {False}
    assert run("operations", "rollback", identifier).exit == 5


def test_rollback__of_configurations__restores_the_values(simulated):
    run("conf", "set", "min_retrieve_tokens=7", "--all")
    identifier = run_json("conf", "set", "min_retrieve_tokens=8", "--all").document["id"]

    dry = run_json("operations", "rollback", identifier, "--dry-run").document["calls"]
    assert [call["body"] for call in dry] == [{"min_retrieve_tokens": 7}] * 3
    assert run("operations", "rollback", identifier).exit == 0

    assert [agent.conf["min_retrieve_tokens"] for agent in simulated] == [7, 7, 7]


def test_rollback__somebody_wished_otherwise__that_stays_and_3(simulated):
    identifier = freeze()
    run("freeze", "enable", "--agent", "w1", "--reason", "mine")

    finished = run_json("operations", "rollback", identifier)

    assert finished.exit == 3
    assert [agent.freeze for agent in simulated] == [False, True, False]
    states = {target["agent"]: target["state"] for target in finished.document["targets"]}
    assert states == {"w0": "succeeded", "w1": "failed", "w2": "succeeded"}


def test_rollback__of_what_leaves_nothing_to_undo__5_and_on_record(simulated):
    identifier = run_json("cache", "clear", "--all").document["id"]
    before = timezone.now()

    finished = run("operations", "rollback", identifier)

    assert finished.exit == 5
    assert "cache.clear" in finished.why
    entry = AuditEntry.objects.get(action="command.run", created_at__gte=before)
    assert entry.target == "command:operations rollback"
