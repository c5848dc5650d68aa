"""Changes by command: whom they reach, how they end, what is on record."""

import os
import signal
from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.modes.models import DesiredMode
from controlplane.operations.models import Operation, State
from controlplane.reconcile.finishing import Finisher
from engine.contract import Role
from tests.controlplane.commands.running import run, run_json
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def refuse(method, path):
    raise NotSent("Connection refused")


def hang(method, path):
    raise TimedOut("the time was up")


def three(fleet):
    return [fleet(f"worker-{number}")[1] for number in range(3)]


def changes(simulated) -> int:
    return sum(count for call, count in simulated.asked.items() if not call.startswith("GET"))


def test_change__of_many__is_the_operation_that_the_api_shows(viewer_api, fleet):
    simulated = three(fleet)

    finished = run_json("freeze", "enable", "--all", "--reason", "deploy")

    assert finished.exit == 0
    assert all(agent.freeze for agent in simulated)
    identifier = finished.document["id"]
    document, shown = finished.document, viewer_api.get(f"/api/v1/operations/{identifier}").json()
    assert "http://testserver" + document.pop("targets_url") == shown.pop("targets_url")
    assert document == shown
    entries = AuditEntry.objects.filter(operation_id=identifier).order_by("id")
    assert [entry.stage for entry in entries] == ["requested"] + ["completed"] * 4
    assert {(entry.actor_kind, entry.actor_ref) for entry in entries} == {
        ("command", "command:freeze")
    }
    assert {entry.reason for entry in entries} == {"deploy"}
    assert not AuditEntry.objects.filter(action="command.run").exists()


def test_change__for_people__is_a_table_of_agents(fleet):
    three(fleet)

    finished = run("freeze", "enable", "--all")

    rows = [line.split()[:2] for line in finished.out.splitlines() if "worker-" in line]
    assert rows == [[f"worker-{number}", "succeeded"] for number in range(3)]
    assert str(Operation.objects.get().pk) in finished.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--agent", "a-w1", "--agent", "b-w0"], {"a-w1", "b-w0"}),
        (["--engine", "a"], {"a-w0", "a-w1"}),
        (["--engine", "a", "--engine", "b"], {"a-w0", "a-w1", "b-w0"}),
        (["--engine", "a", "--role", "scheduler"], {"a-s"}),
        (["--label", "zone=x"], {"a-w1"}),
        (["--all"], {"a-w0", "a-w1", "b-w0"}),
        (["--agent", "a-w0"], {"a-w0"}),
    ],
)
def test_selectors__given__fit_those_and_no_others(fleet, arguments, expected):
    fleet("a-s", engine="a", role=Role.SCHEDULER)
    fleet("a-w0", engine="a")
    one, _ = fleet("a-w1", engine="a")
    fleet("b-w0", engine="b")
    Agent.objects.filter(pk=one.pk).update(labels={"zone": "x"})

    finished = run_json("freeze", "enable", *arguments)

    assert {target["agent"] for target in finished.document["targets"]} == expected


def test_selectors__none__is_the_only_agent_that_has_what_is_needed(fleet):
    fleet("s", role=Role.SCHEDULER)
    fleet("w")

    finished = run_json("freeze", "enable")

    assert [target["agent"] for target in finished.document["targets"]] == ["w"]


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        ([], 0),
        ([(0, refuse)], 3),
        ([(0, refuse), (1, refuse), (2, refuse)], 4),
        ([(0, hang), (1, refuse), (2, hang)], 4),
    ],
)
def test_exit__agents_that_cannot_be_reached(fleet, failing, expected):
    simulated = three(fleet)
    for number, before in failing:
        simulated[number].before = before

    finished = run("freeze", "enable", "--all")

    assert finished.exit == expected
    assert all(f"worker-{number}" in finished.why for number, _ in failing)


@pytest.mark.parametrize(
    ("arguments", "expected", "named"),
    [
        (["bypass", "add", "NoBackend", "--all"], 1, "NoBackend"),
        (["conf", "set", "min_retrieve_tokens=-1", "--all"], 1, "min_retrieve_tokens"),
        (["conf", "set", "min_retrieve_tokens=-1", "save_decode_cache=true", "--all"], 3, "min_r"),
        (["cache", "store", "9,1", "--all"], 2, "tokens_mock"),
        (["freeze", "enable", "--all", "--expires-in", "soon"], 2, "--expires-in"),
        (["freeze", "enable", "--all", "--expires-in", "0.5s"], 2, "--expires-in"),
        (["freeze", "enable", "--all", "--expires-at", "2020-01-01T00:00Z"], 2, "--expires-at"),
        (["freeze", "enable", "--all", "--wait", "x"], 2, "--wait"),
        (["freeze", "enable", "--all", "--timeout", "0"], 2, "--timeout"),
        (["freeze", "enable", "--all", "--reason", "x" * 501], 2, "--reason"),
        (["freeze", "enable", "--all", "--reason", "a\nb"], 2, "--reason"),
        (["freeze", "enable", "--all", "--canary", "-1"], 2, "--canary"),
        (["cache", "clear", "--all", "--on-failure", "rollback"], 2, "--on-failure"),
        (["freeze", "enable", "--label", "zone"], 2, "--label"),
        (["conf", "set", "--all"], 2, "KEY=VALUE"),
        (["conf", "set", "a=1", "a=2", "--all"], 2, "'a'"),
        (["conf", "set", "--file", "/no/such", "--all"], 2, "--file"),
        (["conf", "set", "a=1", "--all", "--expected-revision", "1"], 2, "--expected-revision"),
        (["freeze", "enable", "--agent", "nobody"], 5, "--agent: nobody"),
        (["freeze", "enable", "--engine", "none"], 5, "--engine: none"),
        (["freeze", "enable", "--label", "zone=q"], 5, "`agents list`"),
        (["freeze", "enable"], 5, "worker-0, worker-1"),
    ],
)
def test_exit__refused__says_why_and_is_on_record(fleet, arguments, expected, named):
    simulated = three(fleet)[:2]
    before = [agent.status() for agent in simulated]

    finished = run_json(*arguments)

    assert (finished.exit, named in finished.why) == (expected, True), finished.why
    if expected not in (2, 5):
        return
    assert named in finished.document["message"]
    assert [agent.status() for agent in simulated] == before
    assert [changes(agent) for agent in simulated] == [0, 0]
    entry = AuditEntry.objects.get(action="command.run")
    assert (entry.outcome, entry.target) == ("failed", f"command:{' '.join(arguments[:2])}")
    assert entry.answer["message"] == finished.document["message"]
    assert not Operation.objects.exists()


def test_refused__with_a_secret__does_not_put_it_on_record(fleet):
    run("conf", "set", "api_key=hush", "--agent", "nobody")

    entry = AuditEntry.objects.get()
    assert entry.request["arguments"] == {"agent": ["nobody"], "assignments": ["api_key=***"]}
    assert "hush" not in entry.document


def test_dry_run__says_what_would_be_sent__and_leaves_no_trace(fleet, agents):
    three(fleet)
    before = AuditEntry.objects.count()

    finished = run_json(
        *("conf", "set", "min_retrieve_tokens=7", "agent_token=hush", "--atomic", "--all"),
        *("--canary", "1", "--reason", "deploy", "--dry-run"),
    )

    assert finished.exit == 0
    assert finished.document["calls"] == [
        {
            "agent": f"worker-{number}",
            "wave": min(number, 1),
            "method": "POST",
            "url": f"http://127.0.0.1:{7000 + number}/conf?atomic=true",
            "body": {"min_retrieve_tokens": 7, "agent_token": "***"},
            "refused": None,
        }
        for number in range(3)
    ]
    assert agents.requests == []
    assert AuditEntry.objects.count() == before
    assert not Operation.objects.exists()


def test_dry_run__what_a_dialect_lacks__says_that_nothing_would_be_sent(fleet, agents):
    fleet("peer", role=Role.SCHEDULER, dialect=Dialect.LMCACHE)

    finished = run_json("lookup", "query", "0,16", "--dry-run")

    assert "LMCache" in finished.document["calls"][0]["refused"]
    assert run("lookup", "query", "0,16").exit == 1
    assert agents.requests == []


@pytest.mark.parametrize("whom", [["--agent", "worker-0"], ["--all"]])
def test_database__cannot_record__no_agent_is_called_and_6(fleet, agents, monkeypatch, whom):
    three(fleet)

    def fail(**fields):
        raise DatabaseError("disk full")

    monkeypatch.setattr("controlplane.audit.services.record", fail)

    finished = run_json("freeze", "enable", *whom)

    assert finished.exit == 6
    assert finished.document["error"] == "Not recorded"
    assert "disk full" in finished.why
    assert agents.requests == []


def test_wait__0__is_left_to_the_controllers(fleet):
    simulated = three(fleet)

    finished = run_json("freeze", "enable", "--all", "--wait", "0")

    assert (finished.exit, finished.document["state"]) == (7, "pending")
    assert finished.document["id"] in finished.why
    assert "No controller runs just now" in finished.why
    assert not any(agent.freeze for agent in simulated)
    Finisher().finish_abandoned(10)
    eventually(lambda: Operation.objects.get().state == State.SUCCEEDED)
    assert all(agent.freeze for agent in simulated)


@pytest.mark.parametrize("how", ["wait", "ctrl-c"])
def test_patience__ends_before_the_operation__controllers_go_on(fleet, how):
    simulated = three(fleet)

    def interrupt(method, path):
        if method == "PUT" and how == "ctrl-c":
            os.kill(os.getpid(), signal.SIGINT)

    simulated[0].before = interrupt
    patience = ["--wait", "0.3s"] if how == "wait" else []
    finished = run_json("freeze", "enable", "--all", "--canary", "1", "--pause", "4s", *patience)

    assert finished.exit == 7
    assert finished.document["id"] in finished.why
    assert [target["state"] for target in finished.document["targets"]] == [
        "succeeded",
        "pending",
        "pending",
    ]
    Finisher().finish_abandoned(10)
    eventually(lambda: Operation.objects.get().state == State.SUCCEEDED)
    assert [agent.asked["PUT /freeze/enable"] for agent in simulated] == [1, 1, 1]


def test_expiry__in_minutes__the_mode_has_it(fleet):
    three(fleet)

    run("freeze", "enable", "--all", "--expires-in", "20m")
    run("hotcache", "disable", "--agent", "worker-0", "--expires-in", "1h")

    frozen = DesiredMode.objects.filter(mode="freeze").values_list("expires_at", flat=True)
    assert len(frozen) == 3
    for end in frozen:
        assert timedelta(minutes=19) < end - timezone.now() <= timedelta(minutes=20)
    hot = DesiredMode.objects.get(mode="hot_cache")
    assert timedelta(minutes=59) < hot.expires_at - timezone.now() <= timedelta(hours=1)


def test_rollout__canary_fails__what_was_done_is_taken_back(fleet):
    simulated = three(fleet)
    simulated[1].before = refuse

    finished = run_json(
        *("freeze", "enable", "--all", "--wave-size", "1", "--max-failures", "0"),
        *("--on-failure", "rollback"),
    )

    assert finished.exit == 1
    assert [agent.freeze for agent in simulated] == [False, False, False]
    assert [target["undone"] for target in finished.document["targets"]] == [True, False, False]


def test_expected_revision__another_is_active__5_and_the_difference(fleet):
    fleet("worker-0")
    run("conf", "set", "min_retrieve_tokens=7", "--agent", "worker-0")

    finished = run_json(
        *("conf", "set", "min_retrieve_tokens=8", "--agent", "worker-0"),
        *("--expected-revision", "1"),
    )

    assert finished.exit == 5
    assert finished.document["diff"] == {"min_retrieve_tokens": {"from": 0, "to": 7}}
    assert "--expected-revision 2" in finished.why
    assert ConfigRevision.objects.get(state="active").number == 2
    refused = AuditEntry.objects.get(action="command.run")
    assert refused.answer["error"] == "Revision conflict"


def test_only_asking__by_a_call_that_can_change__makes_no_operation(fleet, agents):
    fleet("s", role=Role.SCHEDULER)
    fleet("w")

    assert run("cache", "record-slot", "--agent", "w").exit == 0
    assert run("lookup", "recreate", "--preview").exit == 0

    assert [request.target for request in agents.requests] == [
        "/cache/kvcache/record_slot",
        "/lookup/recreate?dryrun=true",
    ]
    assert not Operation.objects.exists()
    assert not AuditEntry.objects.filter(action="command.run").exists()
