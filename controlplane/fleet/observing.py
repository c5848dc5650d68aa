"""Keeping what agents say about themselves, and that they say nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from django.db.models import Case, F, When
from django.utils import timezone

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.audit.redaction import redact
from controlplane.fleet.models import Agent, Health
from controlplane.fleet.services import AgentNotFound
from controlplane.rows import Changed, update_rows

_SEEN_FIELDS = ("last_seen_at", "last_status", "boot_id", "instance_id")
_HEALTH_FIELDS = ("health", "health_since")


@dataclass(frozen=True)
class Seen:
    """An agent, and what it said at that moment."""

    agent: Agent
    status: Mapping[str, object]
    at: datetime


def record_observation(agent: Agent, status: Mapping[str, object]) -> None:
    """Keep what the agent just said about itself, when somebody asked. No change, so
    no audit. Raises AgentNotFound if the agent was removed meanwhile."""
    _take_over(agent, status, timezone.now())
    seen = Agent.objects.filter(pk=agent.pk).update(
        last_seen_at=agent.last_seen_at,
        last_status=agent.last_status,
        boot_id=agent.boot_id,
        instance_id=agent.instance_id,
        # What it said before it left may be read after; only a new start is a return.
        left_at=Case(When(boot_id=agent.boot_id, then=F("left_at")), default=None),
    )
    if not seen:
        raise AgentNotFound(agent.name)


def record_sightings(sightings: Sequence[Seen]) -> None:
    """Keep what agents said, in the caller's transaction."""
    changes = []
    for seen in sightings:
        _take_over(seen.agent, seen.status, seen.at)
        changes.append(Changed(seen.agent, _SEEN_FIELDS))
    if changes:
        update_rows(*changes)


def record_health(health: Mapping[Agent, Health], by: Actor, request_id: str) -> None:
    """Note in which health agents are now, in the caller's transaction. What changed
    goes on record, after the rows: audit entries take turns, and nobody whose turn it is
    may have to wait for a row."""
    changed = {agent: now for agent, now in health.items() if agent.health != now}
    before = {agent: str(agent.health) for agent in changed}
    for agent, now in changed.items():
        agent.health = now
        agent.health_since = timezone.now()
        update_rows(Changed(agent, _HEALTH_FIELDS))
    for agent, now in changed.items():
        audit.record(
            action=f"agent.{now.value}",
            actor=by,
            request_id=request_id,
            agent=agent.name,
            engine=agent.engine.name,
            request={"boot_id": agent.boot_id},
            before={"health": before[agent]},
            after={"health": now.value},
            outcome="observed",
        )


def _take_over(agent: Agent, status: Mapping[str, object], at: datetime) -> None:
    said = cast(dict[str, object], redact(status))
    agent.last_seen_at = at
    agent.last_status = said
    agent.boot_id = str(said.get("boot_id") or agent.boot_id)[:64]
    agent.instance_id = str(said.get("instance_id") or agent.instance_id)[:255]
