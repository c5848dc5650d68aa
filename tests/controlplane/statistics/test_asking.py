"""statistics.services.sample_now and sample_by_hand: what agents answer."""

import json

import pytest
from django.db import DatabaseError
from django.utils import timezone

from controlplane.audit import services as audit
from controlplane.audit.models import AuditEntry
from controlplane.fleet.models import Dialect
from controlplane.forwarding import AgentTimeout, AgentUnreachable, BadAgentAnswer
from controlplane.forwarding.transport import NotSent, TimedOut
from controlplane.statistics.errors import NoStatistics, NotSettled
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger
from controlplane.statistics.services import Asked, record_sample, sample_by_hand, sample_now
from engine.contract import Role
from tests.controlplane.conftest import ACTOR
from tests.controlplane.statistics.samples import NOON, Reporter, counted
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db


@pytest.fixture
def scheduler(make_agent):
    return make_agent("scheduler", role=Role.SCHEDULER, worker_id=None)


def about(**more: object) -> dict[str, object]:
    """What of an answer of `/agent/status` is looked at."""
    return {
        "boot_id": "boot-1",
        "started_at": NOON.timestamp() - 60,
        "counters": {"lookup_requests": 3, "lookup_hit_tokens": 512},
        **more,
    }


def telling(statistics, **more: object):
    """The answer of `/agent/status` of an agent that answers so when it is asked for its
    counts alone."""
    counts = json.loads(statistics.body) if statistics.status == 200 else None
    return reply(about(chunk_statistics=counts, **more))


def answering(statistics, status=None):
    """An agent that gives these answers."""
    answers = {
        "/chunk_statistics/status": statistics,
        "/agent/status": telling(statistics) if status is None else status,
    }
    return lambda request: answers[request.target]


def sample_while_asking(agent, unique: int) -> None:
    """Somebody else is told now what the agent counted a second after noon."""
    told = counted(unique, timestamp=NOON.timestamp() + 1)
    now = timezone.now()
    record_sample(agent, told, {}, "boot-1", Trigger.INTERVAL, Asked(now, now))


def ask(agent) -> ChunkStatisticsSnapshot:
    return sample_now(agent, trigger=Trigger.START, request_id="req-1", timeout=5)


def test_sample_now__kvplane_agent__tells_counts_counters_and_boot(agents, scheduler):
    agents.respond = answering(reply(counted(30, 10)))

    row = ask(scheduler)

    assert (row.agent, row.trigger, row.boot_id) == ("scheduler", "start", "boot-1")
    assert (row.total_chunks, row.unique_chunks) == (40, 30)
    assert row.counters == {"lookup_requests": 3, "lookup_hit_tokens": 512}
    assert ChunkStatisticsSnapshot.objects.get() == row
    assert [request.headers["X-Request-ID"] for request in agents.requests] == ["req-1", "req-1"]
    assert not AuditEntry.objects.filter(action="chunk_statistics.sample").exists()


def test_sample_now__lmcache_process__is_asked_for_its_counts_only(agents, make_agent):
    agents.respond = answering(reply(counted(30, 10)))

    row = ask(make_agent("lmc", dialect=Dialect.LMCACHE))

    assert (row.boot_id, row.counters, row.total_chunks) == ("", {}, 40)
    assert [request.target for request in agents.requests] == ["/chunk_statistics/status"]


@pytest.mark.parametrize("status", [400, 404, 503])
def test_sample_now__agent_that_counts_nothing__is_409_with_its_words(agents, scheduler, status):
    body = {"error": "Not available", "message": "Client does not support statistics."}
    agents.respond = answering(reply(body, status))

    with pytest.raises(NoStatistics, match="Client does not support statistics") as caught:
        ask(scheduler)

    assert caught.value.status == 409
    assert caught.value.extra == {"agent": "scheduler"}
    assert not ChunkStatisticsSnapshot.objects.exists()


@pytest.mark.parametrize(
    ("statistics", "status"),
    [
        (reply({"error": "Broken", "message": "x"}, 500), None),
        (reply([]), None),
        (reply({"is_collecting": True}), None),
        (reply({**counted(30, 10), "unique_chunks": -1}), None),
        (reply(counted(30, 10)), reply({"error": "Broken", "message": "x"}, 500)),
        (reply(counted(30, 10)), reply([])),
        (reply(counted(30, 10)), telling(reply(counted(30, 10)), boot_id=7)),
        (reply(counted(30, 10)), telling(reply(counted(30, 10)), counters=None)),
        (reply(counted(30, 10)), telling(reply(counted(30, 10)), counters={"hits": "many"})),
    ],
)
def test_sample_now__answer_that_is_none__is_502_and_nothing_is_written(
    agents, scheduler, statistics, status
):
    agents.respond = answering(statistics, status)

    with pytest.raises(BadAgentAnswer) as caught:
        ask(scheduler)

    assert caught.value.status == 502
    assert not ChunkStatisticsSnapshot.objects.exists()


def test_sample_now__malformed_count__message_names_the_field(agents, scheduler):
    agents.respond = answering(reply({**counted(30, 10), "unique_chunks": -1}))

    with pytest.raises(BadAgentAnswer, match="'unique_chunks' must be an integer"):
        ask(scheduler)


@pytest.mark.parametrize(
    ("error", "failure"),
    [(NotSent("connection refused"), AgentUnreachable), (TimedOut("slow"), AgentTimeout)],
)
def test_sample_now__agent_that_does_not_answer__raises_its_failure(
    agents, scheduler, error, failure
):
    def respond(request):
        raise error

    agents.respond = respond

    with pytest.raises(failure):
        ask(scheduler)


def test_sample_now__restart_between_the_two_answers__tells_counts_and_boot_of_one(
    agents, scheduler
):
    agents.respond = answering(reply(counted(1_000)), telling(reply(counted(2)), boot_id="boot-2"))

    row = ask(scheduler)

    assert (row.boot_id, row.total_chunks) == ("boot-2", 2)


def test_sample_now__restart_without_counting_between_the_two_answers__is_409(agents, scheduler):
    gone = reply({"error": "Not available", "message": "It does not count."}, 400)
    answers = iter([reply(counted(2)), reply(about(chunk_statistics=None)), gone])
    agents.respond = lambda request: next(answers)

    with pytest.raises(NoStatistics, match="It does not count"):
        ask(scheduler)


def test_sample_now__clock_was_ahead_when_the_agent_started__is_kept(agents, scheduler):
    counts = reply(counted(30, 10))
    agents.respond = answering(counts, telling(counts, started_at=NOON.timestamp() + 3_600))

    assert ask(scheduler).total_chunks == 40


def test_sample_now__clock_was_set_back_since_the_last__is_kept(agents, scheduler):
    Reporter(scheduler).says(30, unique=5)
    agents.respond = answering(reply(counted(7)))

    assert ask(scheduler).total_chunks == 7


def test_sample_now__overtaken_once__asks_anew(agents, scheduler):
    answers = iter([counted(5), counted(7)])

    def respond(request):
        if request.target == "/chunk_statistics/status":
            return reply(counted(5))
        answer = next(answers)
        if answer["total_chunks"] == 5:
            # Another one samples the agent while this answer is on its way.
            sample_while_asking(scheduler, unique=6)
        return telling(reply(answer))

    agents.respond = respond

    row = ask(scheduler)

    assert (row.total_chunks, row.run) == (7, 1)


def test_sample_now__always_overtaken__is_409_after_three_attempts(agents, scheduler):
    def respond(request):
        if request.target == "/chunk_statistics/status":
            return reply(counted(4))
        sample_while_asking(scheduler, unique=5)
        return telling(reply(counted(4)))

    agents.respond = respond

    with pytest.raises(NotSettled, match="try again") as caught:
        ask(scheduler)

    assert caught.value.status == 409
    assert len(agents.requests) == 6
    assert set(ChunkStatisticsSnapshot.objects.values_list("unique_chunks", flat=True)) == {5}


def test_sample_by_hand__answer__is_on_record_with_who_asked(agents, scheduler):
    agents.respond = answering(reply(counted(30, 10)))

    row = sample_by_hand(scheduler, actor=ACTOR, request_id="req-1", timeout=5)

    assert row.trigger == Trigger.MANUAL
    entry = AuditEntry.objects.get(action="chunk_statistics.sample")
    assert (entry.agent, entry.actor_name, entry.request_id) == ("scheduler", "tests", "req-1")
    assert entry.answer == {"snapshot": row.pk, "run": 1}


@pytest.mark.django_db(transaction=True)
def test_sample_by_hand__audit_cannot_be_written__neither_is_the_snapshot(
    agents, scheduler, monkeypatch
):
    def broken(**kwargs):
        raise DatabaseError("disk full")

    agents.respond = answering(reply(counted(30, 10)))
    monkeypatch.setattr(audit, "record", broken)

    with pytest.raises(DatabaseError):
        sample_by_hand(scheduler, actor=ACTOR, request_id="req-1", timeout=5)

    assert not ChunkStatisticsSnapshot.objects.exists()
