"""Agents: whether they answer, to the right token, as what they are registered as."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import cast

from django.conf import settings
from django.db import connections

from controlplane import forwarding
from controlplane.fleet.models import Agent, Dialect
from controlplane.forwarding import (
    AgentAnswer,
    AgentFailure,
    AgentTimeout,
    AgentUnreachable,
    BadAgentAnswer,
    NotCallable,
)
from controlplane.launcher.checkup.finding import Finding, bad, ok, warn
from controlplane.reconcile.models import Watch
from engine.contract import endpoint
from engine.contract.version import version

AREA = "agents"
CLOCKS = "clocks"
_AT_ONCE = 32
_STATUS = endpoint("get_agent_status")
_VERSION = endpoint("get_lmc_version")
_SKEW_S = 3.0
_BAD_SKEW_S = 30.0
# The Date header has whole seconds.
_HALF_A_SECOND = 0.5


@dataclass(frozen=True)
class _Asked:
    """An agent and what it said to either question; `at` is when it was asked, in the
    middle."""

    agent: Agent
    status: AgentAnswer | AgentFailure
    version: AgentAnswer | AgentFailure
    at: float


def check_agents(request_id: str) -> Iterator[Finding]:
    """Ask all that have not left, at once."""
    agents = list(Agent.objects.filter(left_at=None).select_related("engine"))
    if not agents:
        yield warn(
            AREA,
            "none is registered, or all have left",
            "Start agents with an enrolment token, or use `manage.py register_agent`.",
        )
        return
    with ThreadPoolExecutor(min(len(agents), _AT_ONCE), "doctor") as threads:
        asked = list(threads.map(partial(_ask, request_id=request_id), agents))
    for one in asked:
        yield from _check_one(one)
    yield from _check_watches(agents)


def _ask(agent: Agent, request_id: str) -> _Asked:
    # Whatever it is registered as: both dialects know the one question, one the other.
    plain = copy.copy(agent)
    plain.dialect = Dialect.KVPLANE
    send = partial(
        forwarding.send_all,
        query="",
        body=None,
        request_id=request_id,
        timeout=min(settings.KVPLANE_AGENT_TIMEOUT, 5.0),
    )
    try:
        (said,) = send([agent], _VERSION)
        before = time.time()
        (status,) = send([plain], _STATUS) if isinstance(said, AgentAnswer) else [said]
        return _Asked(agent, status, said, (before + time.time()) / 2)
    finally:
        connections.close_all()


def _check_one(asked: _Asked) -> Iterator[Finding]:
    agent = asked.agent
    if isinstance(asked.version, AgentFailure):
        yield _failure(agent, asked.version)
        return
    is_ours = isinstance(asked.status, AgentAnswer) and asked.status.status == 200
    if agent.dialect == Dialect.KVPLANE and not is_ours:
        yield bad(
            AREA,
            f"{agent.name} does not answer /agent/status, as KVPlane's agents do",
            f"If it is an LMCache process, register it with --dialect {Dialect.LMCACHE}.",
        )
    elif agent.dialect == Dialect.LMCACHE and is_ours:
        yield warn(
            AREA,
            f"{agent.name} is registered as an LMCache process and is an agent of KVPlane",
            f"Register it with --dialect {Dialect.KVPLANE}, for what only those can do.",
        )
    else:
        yield ok(AREA, f"{agent.name} answers at {agent.url}")
    if is_ours:
        yield from _check_status(agent, cast(AgentAnswer, asked.status))
    yield from _check_clock(agent, asked)


def _failure(agent: Agent, failure: AgentFailure) -> Finding:
    if isinstance(failure, AgentUnreachable | AgentTimeout):
        remedy = "Start it, correct its URL, or remove it if it is gone for good."
    elif isinstance(failure, NotCallable):
        remedy = "Store its agent_token anew, or give the old key in KVPLANE_SECRET_KEY_FALLBACKS."
    elif isinstance(failure, BadAgentAnswer) and "token" in failure.message:
        remedy = f"Store its agent_token: `register_agent {agent.name} … --token-file FILE`."
    else:
        remedy = "Check that its URL and dialect are right."
    return bad(AREA, f"{agent.name}: {failure.message}", remedy)


def _check_status(agent: Agent, answer: AgentAnswer) -> Iterator[Finding]:
    status = answer.document if isinstance(answer.document, Mapping) else {}
    if status.get("role") != agent.role:
        yield bad(
            AREA,
            f"{agent.name} says that it is a {status.get('role')} and is registered as a "
            f"{agent.role}",
            "Correct its URL or its role.",
        )
    versions = status.get("versions")
    theirs = versions.get("kvplane") if isinstance(versions, Mapping) else None
    if theirs != version():
        yield warn(
            AREA,
            f"{agent.name} has version {theirs}, this control plane {version()}",
            "Bring both to the same version.",
        )


def _check_clock(agent: Agent, asked: _Asked) -> Iterator[Finding]:
    answer = asked.status if isinstance(asked.status, AgentAnswer) else asked.version
    if not isinstance(answer, AgentAnswer) or not answer.date:
        return
    try:
        there = parsedate_to_datetime(answer.date).timestamp() + _HALF_A_SECOND
    except ValueError:
        return
    ahead = there - asked.at
    remedy = "Synchronize the clocks of both hosts (NTP)."
    what = f"{agent.name}'s clock is {ahead:+.0f} s off this host's"
    if abs(ahead) > _BAD_SKEW_S:
        yield bad(CLOCKS, what, remedy)
    elif abs(ahead) > _SKEW_S:
        yield warn(CLOCKS, what, remedy)
    else:
        yield ok(CLOCKS, f"{agent.name}'s clock agrees with this host's")


def _check_watches(agents: Sequence[Agent]) -> Iterator[Finding]:
    for watch in Watch.objects.filter(agent__in=agents).select_related("agent"):
        name, what = watch.agent.name, ", ".join(watch.drift) or "unknown"
        if watch.gave_up_at is not None:
            yield bad(
                AREA,
                f"the control loop gave up on {name} ({what}): {watch.last_error}",
                f"Mend the cause, then POST /api/v1/watches/{name}/retry.",
            )
        elif watch.drift:
            yield warn(
                AREA,
                f"{name} has drift: {what}",
                "The control loop mends it where the policy is enforce; see `agents show`.",
            )
