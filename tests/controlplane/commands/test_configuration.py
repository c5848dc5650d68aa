"""`manage.py conf`: values, revisions, going back."""

import io

import pytest

from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.forwarding.transport import NotSent
from controlplane.operations.models import Operation
from tests.controlplane.commands.running import run, run_json

pytestmark = pytest.mark.django_db


@pytest.fixture
def simulated(fleet):
    return fleet("w0")[1]


def set_to(tokens: int) -> None:
    assert run("conf", "set", f"min_retrieve_tokens={tokens}", "--agent", "w0").exit == 0


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("min_retrieve_tokens=7", 7),
        ("save_decode_cache=true", True),
        ("remote_serde=zstd", "zstd"),
        ('remote_serde="zstd"', "zstd"),
        ("hit_miss_ratio=0.5", 0.5),
        ("hit_miss_ratio=null", None),
    ],
)
def test_set__value__is_json_or_else_text(simulated, typed, value):
    assert run("conf", "set", typed, "--agent", "w0").exit == 0

    assert simulated.conf[typed.partition("=")[0]] == value


def test_set__value_that_would_add_keys__is_text(simulated):
    finished = run_json("conf", "set", 'remote_serde="zstd","chunk_size":1', "--agent", "w0")

    assert finished.exit == 1
    assert set(finished.document["body"]) == {"remote_serde"}
    assert simulated.conf["chunk_size"] == 256


def test_set__from_standard_input__keeps_secrets_out_of_arguments(simulated, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"min_retrieve_tokens": 9}'))

    assert run("conf", "set", "--file", "-", "--agent", "w0").exit == 0
    assert simulated.conf["min_retrieve_tokens"] == 9


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"a": NaN}', '{"a": 1, "a": 2}', r'{"a": "\u0000"}', '{"a": 1' * 99]
)
def test_set__file_that_is_no_object__2_and_nothing_is_sent(simulated, agents, tmp_path, text):
    file = tmp_path / "values.json"
    file.write_text(text)

    assert run("conf", "set", "--file", str(file), "--agent", "w0").exit == 2
    assert agents.requests == []


def test_history__newest_first__with_who_and_why(simulated):
    set_to(7)
    run("conf", "set", "min_retrieve_tokens=8", "--agent", "w0", "--reason", "more")

    revisions = run_json("conf", "history", "--agent", "w0").document["revisions"]
    assert [(one["number"], one["state"]) for one in revisions] == [
        (3, "active"),
        (2, "superseded"),
        (1, "superseded"),
    ]
    assert revisions[0]["reason"] == "more"
    latest = run_json("conf", "history", "--limit", "1").document["revisions"]
    assert [one["number"] for one in latest] == [3]
    assert run("conf", "history", "--agent", "nobody").exit == 5


def test_diff__default__is_the_active_one_against_its_parent(simulated):
    set_to(7)
    set_to(8)

    assert run_json("conf", "diff", "--agent", "w0").document["diff"] == {
        "min_retrieve_tokens": {"from": 7, "to": 8}
    }
    assert run_json("conf", "diff", "--agent", "w0", "3", "--against", "1").document == {
        "agent": "w0",
        "before": 1,
        "after": 3,
        "diff": {"min_retrieve_tokens": {"from": 0, "to": 8}},
    }
    assert run("conf", "diff", "--agent", "w0", "9").exit == 5
    assert run("conf", "diff", "--agent", "nobody").exit == 5


def test_rollback__makes_a_revision__and_says_before_what_it_would_do(simulated, agents):
    set_to(7)
    asked = len(agents.requests)

    dry = run_json("conf", "rollback", "1", "--dry-run")
    assert dry.document["changes"] == {"min_retrieve_tokens": {"from": 7, "to": 0}}
    assert dry.document["dry_run"] is True
    assert len(agents.requests) == asked
    preview = run_json("conf", "rollback", "1", "--preview")
    assert preview.document["changes"] == dry.document["changes"]
    assert len(agents.requests) > asked
    assert ConfigRevision.objects.count() == 2

    done = run_json("conf", "rollback", "1", "--reason", "slow")
    assert (done.exit, done.document["state"]) == (0, "succeeded")
    assert simulated.conf["min_retrieve_tokens"] == 0
    active = ConfigRevision.objects.get(state="active")
    assert (active.restored_from, active.reason, active.actor_kind) == (1, "slow", "command")
    stages = AuditEntry.objects.filter(operation_id=done.document["id"]).values_list("stage")
    assert [stage for (stage,) in stages.order_by("id")] == ["requested", "completed"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["9", "--agent", "w0"], 5),
        (["1", "--agent", "nobody"], 5),
        (["2"], 5),
        (["1", "--expected-revision", "1"], 5),
        (["1", "--reason", "x" * 501], 2),
    ],
)
def test_rollback__refused__changes_nothing_and_is_on_record(simulated, arguments, expected):
    set_to(7)
    operations = Operation.objects.count()

    assert run("conf", "rollback", *arguments).exit == expected

    assert simulated.conf["min_retrieve_tokens"] == 7
    assert Operation.objects.count() == operations
    assert AuditEntry.objects.get(action="command.run").target == "command:conf rollback"


def test_rollback__agent_is_silent__4(simulated):
    set_to(7)

    def refuse(method, path):
        raise NotSent("Connection refused")

    simulated.before = refuse
    assert run("conf", "rollback", "1").exit == 4
