"""operations.services.perform: recorded, sent, recorded again."""

import json
import threading

import pytest
from django.db import DatabaseError, connection

from controlplane import forwarding
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.models import AuditEntry, Stage
from controlplane.forwarding import AgentAnswer, AgentTimeout, AgentUnreachable, BadAgentAnswer
from controlplane.forwarding.transport import Lost, NotSent, RawAnswer, TimedOut
from controlplane.operations.models import Operation, State
from controlplane.operations.services import (
    NotRecorded,
    OutcomeNotRecorded,
    Performed,
    perform,
)
from engine.contract import ContractError, endpoint
from tests.controlplane.wire import reply

ACTOR = Actor(ActorKind.TOKEN, "ada/ci", "token:7", "10.1.2.3")


def run(
    *targets,
    operation_id="enable_freeze",
    query="",
    body=None,
    timeout=5.0,
    reason="maintenance",
) -> Performed:
    return perform(
        endpoint(operation_id),
        targets,
        query=query,
        body=body,
        actor=ACTOR,
        reason=reason,
        request_id="req-1",
        timeout=timeout,
    )


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(request_id="req-1").order_by("id"))


@pytest.mark.django_db
def test_perform__agent_succeeds__operation_and_both_audit_entries_tell_it(agents, make_agent):
    performed = run(make_agent())

    assert performed.answer().document == {"status": "success"}
    operation = Operation.objects.get()
    assert (operation.state, operation.action) == (State.SUCCEEDED, "freeze.enable")
    assert operation.finished_at >= operation.created_at
    target = operation.targets.get()
    assert (target.agent, target.state, target.status) == ("worker-0", State.SUCCEEDED, 200)
    assert target.answer == {"status": "success"}
    requested, completed = entries()
    assert (requested.stage, completed.stage) == (Stage.REQUESTED, Stage.COMPLETED)
    assert requested.operation_id == completed.operation_id == operation.pk
    assert completed.outcome == "succeeded"
    assert {entry.actor_name for entry in (requested, completed)} == {"ada/ci"}
    assert {entry.reason for entry in (requested, completed)} == {"maintenance"}


@pytest.mark.django_db
def test_perform__call__carries_token_and_request_id(agents, make_agent):
    run(make_agent(token="agent-secret-1"))

    (request,) = agents.requests
    assert request.method == "PUT"
    assert request.base + request.target == "http://127.0.0.1:7000/freeze/enable"
    assert request.headers["Authorization"] == "Bearer agent-secret-1"
    assert request.headers["X-Request-ID"] == "req-1"


@pytest.mark.django_db
def test_perform__request_is_recorded_before_the_agent_is_called(agents, make_agent):
    seen = []

    def respond(request):
        seen.append((Operation.objects.get().state, [entry.stage for entry in entries()]))
        return reply({})

    agents.respond = respond
    run(make_agent())

    assert seen == [(State.RUNNING, [Stage.REQUESTED])]


@pytest.mark.django_db
def test_perform__agent_refuses_part__answer_passes_and_state_is_partially_failed(
    agents, make_agent
):
    refused = {"updated": {"chunk": 1}, "errors": {"x": "Unknown config"}}
    agents.respond = lambda request: reply(refused, 400)

    performed = run(make_agent(), operation_id="update_conf", body=b'{"chunk": 1, "x": 2}')

    answer = performed.answer()
    assert (answer.status, answer.document) == (400, refused)
    assert Operation.objects.get().state == State.PARTIALLY_FAILED


@pytest.mark.django_db
def test_perform__agent_answers_400__state_is_failed(agents, make_agent):
    agents.respond = lambda request: reply({"error": "e", "message": "m"}, 400)

    assert run(make_agent()).operation.state == State.FAILED
    assert entries()[1].status == 400


def _refused(request):
    raise NotSent("Connection refused")


def _timed_out(request):
    raise TimedOut("timed out")


def _reset(request):
    raise Lost("Connection reset by peer")


def _garbage(request):
    return RawAnswer(200, "application/json", b"<html>")


def _page(request):
    return RawAnswer(200, "text/html", b"<html>")


def _redirect(request):
    return RawAnswer(302, "", b"")


def _too_long(request):
    return reply({"x": "y" * (2 << 20)})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("respond", "failure", "status", "state_after", "state"),
    [
        (_refused, AgentUnreachable, 502, "unchanged", State.FAILED),
        (_timed_out, AgentTimeout, 504, "unknown", State.UNKNOWN),
        (_reset, BadAgentAnswer, 502, "unknown", State.UNKNOWN),
        (_garbage, BadAgentAnswer, 502, "unknown", State.UNKNOWN),
        (_page, BadAgentAnswer, 502, "unknown", State.UNKNOWN),
        (_redirect, BadAgentAnswer, 502, "unknown", State.UNKNOWN),
        (_too_long, BadAgentAnswer, 502, "unknown", State.UNKNOWN),
    ],
)
def test_perform__agent_gives_no_answer__failure_says_what_is_known(
    agents, make_agent, respond, failure, status, state_after, state
):
    agents.respond = respond

    performed = run(make_agent())

    with pytest.raises(failure) as caught:
        performed.answer()
    body = caught.value.body()
    assert caught.value.status == status
    assert body["agent"] == "worker-0"
    assert body["state"] == state_after
    assert body["operation"] == str(performed.operation.pk)
    operation = Operation.objects.get()
    assert operation.state == state
    assert operation.targets.get().error["state"] == state_after
    assert entries()[1].outcome == state


@pytest.mark.django_db
def test_perform__connection_lost__change_is_not_sent_twice(agents, make_agent):
    agents.respond = _reset

    run(make_agent())

    assert len(agents.requests) == 1


@pytest.mark.django_db
def test_perform__agent_does_not_accept_the_token__says_so_as_502(agents, make_agent):
    agents.respond = lambda request: reply({"error": "e", "message": "m"}, 401)

    performed = run(make_agent())

    with pytest.raises(BadAgentAnswer, match="token") as caught:
        performed.answer()
    assert caught.value.body()["state"] == "unchanged"
    assert performed.operation.state == State.FAILED


@pytest.mark.django_db(transaction=True)
def test_perform__audit_cannot_be_written__503_and_no_agent_called(agents, make_agent, monkeypatch):
    def broken(**kwargs):
        raise DatabaseError("disk full")

    agent = make_agent()
    monkeypatch.setattr(audit, "record", broken)

    with pytest.raises(NotRecorded) as caught:
        run(agent)

    assert caught.value.status == 503
    assert caught.value.body()["error"] == "Not recorded"
    assert agents.requests == []
    assert not Operation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_perform__outcome_cannot_be_written__error_names_the_operation_which_stays_running(
    agents, make_agent, monkeypatch
):
    agent = make_agent()
    record = audit.record

    def breaks_at_the_end(**kwargs):
        if kwargs["stage"] is Stage.COMPLETED:
            raise DatabaseError("disk full")
        return record(**kwargs)

    monkeypatch.setattr(audit, "record", breaks_at_the_end)

    with pytest.raises(OutcomeNotRecorded) as caught:
        run(agent)

    operation = Operation.objects.get()
    assert operation.state == State.RUNNING
    assert operation.targets.get().state == State.RUNNING
    assert caught.value.body()["operation"] == str(operation.pk)
    assert caught.value.body()["outcomes"] == {"worker-0": "succeeded"}
    assert [entry.stage for entry in entries()] == [Stage.REQUESTED]


@pytest.mark.django_db
def test_perform__several_targets__one_outcome_each_in_their_order(agents, make_agent):
    good = make_agent("worker-0", url="http://127.0.0.1:7000")
    bad = make_agent("worker-1", url="http://127.0.0.1:7001", worker_id=1)

    def respond(request):
        if request.base == bad.url:
            raise NotSent("refused")
        return reply({"status": "success"})

    agents.respond = respond
    performed = run(bad, good)

    assert [outcome.state for outcome in performed.outcomes] == [State.FAILED, State.SUCCEEDED]
    operation = Operation.objects.get()
    assert operation.state == State.PARTIALLY_FAILED
    assert dict(operation.targets.values_list("agent", "state")) == {
        "worker-1": State.FAILED,
        "worker-0": State.SUCCEEDED,
    }
    assert entries()[0].request["agents"] == ["worker-1", "worker-0"]


@pytest.mark.django_db
def test_perform__secrets_in_body_query_and_answer__are_not_stored(agents, make_agent):
    agents.respond = lambda request: reply(
        {"updated": {"agent_token": "hush-1", "remote_url": "redis://u:hush-2@h:1"}}
    )
    body = {
        "agent_token": "hush-3",
        "remote_url": "redis://u:hush-4@h:1",
        "nested": [{"secret": "hush-5"}],
    }

    run(
        make_agent(),
        operation_id="update_conf",
        query="token=hush-6&url=redis://u:hush-7@h",
        body=json.dumps(body).encode(),
    )

    operation = Operation.objects.get()
    stored = json.dumps(
        [
            operation.query,
            operation.body,
            operation.targets.get().answer,
            *([entry.request, entry.answer] for entry in entries()),
        ]
    )
    assert "hush" not in stored
    assert operation.body["agent_token"] == "***"
    assert operation.body["remote_url"] == "redis://***@h:1"
    sent = json.loads(agents.requests[-1].body)
    assert sent == body


@pytest.mark.django_db
def test_perform__answer_that_no_json_column_holds__is_stored_made_fit(agents, make_agent):
    agents.respond = lambda request: RawAnswer(
        200,
        "application/json",
        b'{"nul": "a\\u0000b", "lone": "\\ud800", "big": 1e999, "deep": '
        + b"[" * 100
        + b"]" * 100
        + b"}",
    )

    assert run(make_agent()).operation.state == State.SUCCEEDED
    answer = Operation.objects.get().targets.get().answer
    assert (answer["nul"], answer["lone"], answer["big"]) == ("a\ufffdb", "?", "inf")


@pytest.mark.django_db
def test_perform__endpoint_that_reads__is_refused(agents, make_agent):
    with pytest.raises(ValueError, match="changes"):
        run(make_agent(), operation_id="get_conf")


@pytest.mark.django_db
def test_perform__query_that_cannot_be_read__changes_and_records_nothing(agents, make_agent):
    with pytest.raises(ContractError) as caught:
        run(make_agent(), operation_id="store_cache", query="tokens_mock=9,1")

    assert caught.value.status == 400
    assert agents.requests == []
    assert not Operation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_perform__from_many_threads_at_once__loses_nothing(agents, make_agent):
    agent = make_agent()
    failures: list[Exception] = []
    answers: list[AgentAnswer] = []
    threads_count, calls = 8, 5

    def work():
        try:
            answers.extend(run(agent).answer() for _ in range(calls))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must show it
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(threads_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    total = threads_count * calls
    assert len(answers) == len(agents.requests) == total
    assert Operation.objects.filter(state=State.SUCCEEDED).count() == total
    assert AuditEntry.objects.filter(stage=Stage.REQUESTED).count() == total
    assert AuditEntry.objects.filter(stage=Stage.COMPLETED).count() == total


@pytest.mark.django_db
def test_perform__reason_too_long__changes_and_records_nothing(agents, make_agent):
    with pytest.raises(ContractError) as caught:
        run(make_agent(), reason="x" * 501)

    assert caught.value.status == 400
    assert agents.requests == []
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_perform__reason_with_secrets__is_stored_without(agents, make_agent):
    run(make_agent(), reason="move redis://u:hush@h")

    stored = [Operation.objects.get().reason, *(entry.reason for entry in entries())]
    assert stored == ["move redis://***@h"] * 3


@pytest.mark.django_db
def test_perform__forwarding_breaks_down__state_is_unknown_and_the_error_goes_on(
    agents, make_agent, monkeypatch
):
    def broken(*args, **kwargs):
        raise RuntimeError("bug: hush")

    monkeypatch.setattr(forwarding, "send_all", broken)
    with pytest.raises(RuntimeError):
        run(make_agent())

    operation = Operation.objects.get()
    assert operation.state == State.UNKNOWN
    assert operation.finished_at is not None
    target = operation.targets.get()
    assert (target.state, target.error["state"]) == (State.UNKNOWN, "unknown")
    assert entries()[1].outcome == "unknown"
    assert "hush" not in str(entries()[1].answer)
