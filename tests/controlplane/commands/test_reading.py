"""Reads by command: answers, exit codes, and what of them is on record."""

import json

import pytest
from django.db import DatabaseError

from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import ReadPolicy
from controlplane.configuration.models import ConfigSchema
from controlplane.fleet.models import Agent
from controlplane.forwarding.transport import NotSent
from engine.contract import Role
from tests.controlplane.commands.running import run, run_json
from tests.controlplane.statistics.samples import at
from tests.controlplane.statistics.tier_samples import DISK, MEMORY, TierReporter, tier
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db


def refuse(method, path):
    raise NotSent("Connection refused")


@pytest.fixture(autouse=True)
def _two(fleet):
    fleet("w0")[1].freeze = True
    fleet("w1")


def test_read__of_many__answers_and_failures_side_by_side(fleet):
    fleet("w2")[1].before = refuse

    finished = run_json("freeze", "status", "--all")

    assert finished.exit == 3
    targets = finished.document["targets"]
    assert [target["agent"] for target in targets] == ["w0", "w1", "w2"]
    assert [target["answer"] and target["answer"]["freeze"] for target in targets] == [
        True,
        False,
        None,
    ]
    assert targets[2]["error"]["error"] == "Agent unreachable"
    assert "w2" in finished.why


def test_read__nobody_answers__4(fleet, agents):
    agents.respond = lambda request: refuse("GET", "")

    assert run("conf", "get", "--agent", "w0").exit == 4


def test_read__of_one_name__is_passed_on(agents):
    finished = run_json("conf", "get", "--names", "chunk_size", "--agent", "w0")

    assert agents.requests[-1].target == "/conf?names=chunk_size"
    assert finished.document["targets"][0]["answer"]["chunk_size"] == 256


def test_read__bad_parameter__2_and_nobody_is_asked(agents):
    finished = run_json("cache", "check", "--slot-mapping", "3-1", "--chunk-size", "2", "--all")

    assert finished.exit == 2
    assert "slot_mapping" in finished.document["message"]
    assert agents.requests == []


def test_read__without_policy__leaves_nothing(settings):
    before = AuditEntry.objects.count()
    run("freeze", "status", "--all")
    run("agents", "list")

    assert AuditEntry.objects.count() == before


def test_read__with_policy__is_on_record_as_over_the_api(settings):
    settings.KVPLANE_AUDIT_READS = {"freeze": ReadPolicy.FULL, "agents": ReadPolicy.METADATA}
    run("freeze", "status", "--agent", "w0")
    run("agents", "list")
    run("hotcache", "status", "--agent", "w0")

    full, metadata = AuditEntry.objects.filter(action="request.read").order_by("id")
    assert (full.target, full.agent, full.status) == ("agent:w0", "w0", 200)
    assert full.engine == Agent.objects.get(name="w0").engine.name
    assert full.request == {"command": "freeze status", "arguments": {"agent": ["w0"]}}
    assert full.answer["freeze"] is True
    assert (full.actor_kind, metadata.target) == ("command", "command:agents list")
    assert metadata.answer is None


def test_read__of_many_with_policy__is_on_record_for_each_of_them(settings, fleet):
    settings.KVPLANE_AUDIT_READS = {"freeze": ReadPolicy.FULL}
    fleet("w2")[1].before = refuse

    run("freeze", "status", "--all")

    entries = AuditEntry.objects.filter(action="request.read").order_by("id")
    assert [(entry.agent, entry.outcome, entry.status) for entry in entries] == [
        ("w0", "succeeded", 200),
        ("w1", "succeeded", 200),
        ("w2", "failed", 502),
    ]
    assert len({entry.request_id for entry in entries}) == 1
    assert entries[2].answer["error"] == "Agent unreachable"


def test_read__of_a_secret_that_the_agent_does_not_hide__is_not_on_record(settings, fleet):
    settings.KVPLANE_AUDIT_READS = {"conf": ReadPolicy.FULL}
    agent, simulated = fleet("w2")
    simulated.schema["blob"] = {**simulated.schema["remote_serde"], "secret": True}
    simulated.conf["blob"] = "hush"
    ConfigSchema.objects.create(
        agent=agent.name, keys=simulated.schema, read_at=agent.registered_at
    )

    run("conf", "get", "--agent", "w2")

    entry = AuditEntry.objects.get(action="request.read")
    assert entry.answer["blob"] == "***"
    assert "hush" not in entry.document


def test_read__is_to_be_on_record_and_cannot__is_not_told(settings, monkeypatch):
    settings.KVPLANE_AUDIT_READS = {"freeze": ReadPolicy.METADATA}

    def fail(**fields):
        raise DatabaseError("disk full")

    monkeypatch.setattr("controlplane.audit.services.record", fail)

    finished = run_json("freeze", "status", "--agent", "w0")

    assert finished.exit == 6
    assert finished.document["error"] == "Database failed"
    assert "freeze" not in finished.document


def test_agents_list__tells_health_and_drift_without_asking_anybody(agents):
    listed = run_json("agents", "list").document["agents"]

    assert [agent["name"] for agent in listed] == ["w0", "w1"]
    assert {"health", "drift", "left_at", "url"} <= set(listed[0])
    assert "agent-secret-1" not in json.dumps(listed)
    assert agents.requests == []
    assert "w1" in run("agents", "list").out


def test_agents_list__with_selectors__only_those(fleet):
    fleet("s", role=Role.SCHEDULER)

    listed = run_json("agents", "list", "--role", "scheduler").document["agents"]

    assert [agent["name"] for agent in listed] == ["s"]


def test_agents_show__unknown__5():
    assert run_json("agents", "show", "w1").document["name"] == "w1"
    missing = run_json("agents", "show", "nobody")
    assert (missing.exit, "`agents list`" in missing.why) == (5, True)


def test_agents_probe__keeps_what_they_say_and_is_on_record(fleet):
    fleet("w2")[1].before = refuse

    finished = run_json("agents", "probe", "--all", "--reason", "a look")

    assert finished.exit == 3
    assert Agent.objects.get(name="w0").last_status["freeze"] is True
    assert Agent.objects.get(name="w2").last_status == {}
    entries = AuditEntry.objects.filter(action="agent.probe")
    assert {(entry.agent, entry.outcome) for entry in entries} == {
        ("w0", "succeeded"),
        ("w1", "succeeded"),
        ("w2", "failed"),
    }
    assert {(entry.actor_kind, entry.reason) for entry in entries} == {("command", "a look")}


def test_answer__that_would_steer_a_terminal__is_shown_and_does_not(agents):
    agents.respond = lambda request: reply({"status": "success", "message": "\x1b[2Jgone\x07"})

    finished = run("freeze", "status", "--agent", "w0")

    assert "gone" in finished.out
    assert not {"\x1b", "\x07"} & set(finished.out)
    assert (
        run_json("freeze", "status", "--agent", "w0")
        .document["targets"][0]["answer"]["message"]
        .startswith("\x1b")
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["agents", "show", "\udcff"],
        ["agents", "list", "--agent", "\udcff"],
        ["operations", "list", "--limit", "0"],
        ["conf", "history", "--agent", "w0", "--limit", "100000"],
        ["freeze", "status", "--all", "--timeout", "0"],
        ["chunkstats", "series", "--agent", "w0", "--bucket", "x"],
        ["chunkstats", "series", "--agent", "w0", "--since", "x"],
        ["tierstats", "series", "--agent", "w0", "--bucket", "x"],
    ],
)
def test_read__argument_that_cannot_be__2_and_says_which(agents, arguments):
    finished = run(*arguments)

    assert (finished.exit, bool(finished.why)) == (2, True)
    assert agents.requests == []


def test_chunkstats__sampled__is_in_the_series(fleet):
    _, simulated = fleet("s", role=Role.SCHEDULER)
    simulated.statistics = {
        "is_collecting": True,
        "total_requests": 2,
        "total_chunks": 10,
        "unique_chunks": 4,
        "duplicate_chunks": 6,
        "reuse_rate": 0.6,
        "strategy": "memory_bloom_filter",
        "timestamp": 1706745600.0,
    }

    sampled = run_json("chunkstats", "sample", "--agent", "s")

    assert sampled.exit == 0
    assert AuditEntry.objects.get(action="chunk_statistics.sample").actor_kind == "command"
    assert not AuditEntry.objects.filter(action="command.run").exists()
    buckets = run_json("chunkstats", "series", "--agent", "s").document["buckets"]
    assert sum(bucket["samples"] for bucket in buckets) == 1
    assert run("chunkstats", "series", "--engine", "none").exit == 5
    # What that one says is no answer.
    assert run("chunkstats", "sample", "--agent", "w0").exit == 4


def test_tierstats__kept_by_the_loop__rates_are_shown_and_gaps_are_null(fleet):
    agent, _ = fleet("w")
    reporter = TierReporter(agent)
    reporter.says_memory(0, 10, 4)
    reporter.says(60, {MEMORY: tier(20, 12), DISK: tier(0, 0)}, stored_tokens=7)
    asked = ("tierstats", "series", "--engine", "engine-a", "--bucket", "1m")
    span = ("--since", at(0).isoformat(), "--until", at(180).isoformat())

    first, second, gap = run_json(*asked, *span).document["buckets"]

    assert first["tiers"]["LocalCPUBackend"]["hit_rate"] is None
    assert second["tiers"]["LocalCPUBackend"]["hit_rate"] == 0.8
    assert (gap["samples"], gap["tiers"]) == (0, None)
    shown = run(*asked, *span)
    assert (shown.exit, "LocalCPUBackend 0.800" in shown.out) == (0, True)
    assert run("tierstats", "series", "--agent", "nobody").exit == 5
