"""Asking an agent for its chunk statistics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from controlplane import forwarding
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding import BadAgentAnswer, StateAfter
from controlplane.forwarding.probe import probe
from controlplane.statistics.appending import Asked
from controlplane.statistics.errors import (
    InvalidSample,
    NoStatistics,
    NotSettled,
    OvertakenSample,
)
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger
from controlplane.statistics.sampling import record_sample
from engine.contract import endpoint

_ATTEMPTS = 3
_LACKING = (400, 404, 501, 503)
"""What an agent answers that does not count chunks, or does not know the path."""


@dataclass(frozen=True)
class _Answer:
    """What an agent said, and when."""

    status: Mapping[str, object]
    counters: Mapping[str, object]
    boot_id: str
    asked: Asked


class _CountsNoMore(Exception):
    """It counted when it was asked, and says that it does not now."""


def sample_now(
    agent: Agent, *, trigger: Trigger, request_id: str, timeout: float
) -> ChunkStatisticsSnapshot:
    """Ask the agent and record what it says.

    `timeout` is in seconds, for each of the two calls that an agent of the dialect
    `kvplane` gets, or the one that an LMCache process gets. The agent is asked anew, twice
    at most, if it stopped to count or a later sample was recorded meanwhile. Must not be called
    inside a transaction. Raises AgentFailure, NoStatistics and NotSettled (both 409), and
    django.db.DatabaseError.
    """

    def write(answer: _Answer) -> ChunkStatisticsSnapshot:
        return _write(agent, trigger, answer)

    return _ask_and_write(agent, request_id, timeout, write)


def sample_by_hand(
    agent: Agent, *, actor: Actor, request_id: str, timeout: float
) -> ChunkStatisticsSnapshot:
    """As sample_now, for somebody who wants it: the snapshot and an audit entry, or
    neither."""

    def write(answer: _Answer) -> ChunkStatisticsSnapshot:
        with transaction.atomic():
            snapshot = _write(agent, Trigger.MANUAL, answer)
            audit.record(
                action="chunk_statistics.sample",
                actor=actor,
                request_id=request_id,
                agent=agent.name,
                engine=agent.engine.name,
                answer={"snapshot": snapshot.pk, "run": snapshot.run},
                outcome="succeeded",
            )
        return snapshot

    return _ask_and_write(agent, request_id, timeout, write)


def _ask_and_write(
    agent: Agent,
    request_id: str,
    timeout: float,
    write: Callable[[_Answer], ChunkStatisticsSnapshot],
) -> ChunkStatisticsSnapshot:
    for _ in range(_ATTEMPTS):
        try:
            return write(_ask(agent, request_id, timeout))
        except (OvertakenSample, _CountsNoMore):
            continue
        except InvalidSample as error:
            raise _bad(agent, f"in its chunk statistics, {error}") from error
    raise NotSettled(agent.name)


def _write(agent: Agent, trigger: Trigger, answer: _Answer) -> ChunkStatisticsSnapshot:
    return record_sample(
        agent, answer.status, answer.counters, answer.boot_id, trigger, answer.asked
    )


def _ask(agent: Agent, request_id: str, timeout: float) -> _Answer:
    asked_at = timezone.now()
    counts = _ask_for_statistics(agent, request_id, timeout)
    if agent.dialect == Dialect.LMCACHE:
        return _Answer(counts, {}, "", Asked(asked_at, timezone.now()))
    # What was on its way is counted now. Boot id and counts are taken from one answer:
    # counts of one process under the boot id of the next would be counted twice.
    asked_at = timezone.now()
    about = probe(agent, request_id=request_id, timeout=timeout)
    asked = Asked(asked_at, timezone.now())
    status, counters, boot_id = (
        about.get(name) for name in ("chunk_statistics", "counters", "boot_id")
    )
    if status is None:
        raise _CountsNoMore
    if not isinstance(status, Mapping):
        raise _bad(agent, "its chunk statistics are not an object")
    if not isinstance(counters, Mapping) or not isinstance(boot_id, str):
        raise _bad(agent, "its status has no 'counters' or no 'boot_id'")
    return _Answer(status, counters, boot_id, asked)


def _ask_for_statistics(agent: Agent, request_id: str, timeout: float) -> Mapping[str, object]:
    answer = forwarding.send(
        agent,
        endpoint("get_chunk_statistics_status"),
        query="",
        body=None,
        request_id=request_id,
        timeout=timeout,
    )
    document = answer.document
    if answer.status in _LACKING:
        raise NoStatistics(agent.name, _message_of(document))
    if answer.status != 200:
        raise _bad(agent, f"it answered with status {answer.status}")
    if not isinstance(document, dict):
        raise _bad(agent, "its chunk statistics are not an object")
    return document


def _message_of(document: object) -> str:
    message = document.get("message") if isinstance(document, dict) else None
    return message[:200] if isinstance(message, str) else "it does not know the path."


def _bad(agent: Agent, why: str) -> BadAgentAnswer:
    return BadAgentAnswer(agent.name, why, StateAfter.UNCHANGED)
