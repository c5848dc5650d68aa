"""Asking an agent for its chunk statistics."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from controlplane import forwarding
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding import BadAgentAnswer, StateAfter
from controlplane.forwarding.probe import probe
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
    """What an agent said, and when that arrived."""

    status: Mapping[str, object]
    counters: Mapping[str, object]
    boot_id: str
    taken_at: datetime


def sample_now(
    agent: Agent, *, trigger: Trigger, request_id: str, timeout: float
) -> ChunkStatisticsSnapshot:
    """Ask the agent and record what it says.

    `timeout` is in seconds, for each of the two calls that an agent of the dialect
    `kvplane` gets and the one that an LMCache process gets; they are asked anew, twice at
    most, if a later sample was recorded meanwhile. Raises AgentFailure, NoStatistics and
    NotSettled (both 409), and django.db.DatabaseError.
    """
    for _ in range(_ATTEMPTS):
        answer = _ask(agent, request_id, timeout)
        try:
            return record_sample(
                agent, answer.status, answer.counters, answer.boot_id, trigger, answer.taken_at
            )
        except OvertakenSample:
            continue
        except InvalidSample as error:
            raise _bad(agent, str(error)) from error
    raise NotSettled(agent.name)
