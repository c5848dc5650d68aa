"""What can be done with the fleet: registering, enrolling, changing and removing agents,
and taking their leave. The rest is in modules of its own."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor, ActorKind
from controlplane.fleet import vault
from controlplane.fleet.engines import record_engine, remove_engine, save_engine
from controlplane.fleet.enrolment_tokens import (
    IssuedEnrolmentToken,
    create_enrolment_token,
    find_enrolment_token,
    find_parting_token,
    revoke_enrolment_token,
)
from controlplane.fleet.errors import (
    AgentNotFound,
    AgentOfAnotherEngine,
    EngineNotFound,
    NameTaken,
    NoDefaultAgent,
    NotItsOwn,
)
from controlplane.fleet.finding import (
    MAX_CANDIDATES,
    agents_of_engine_with,
    agents_with,
    default_agent,
    default_agent_of,
    find_agent,
    find_agent_of,
)
from controlplane.fleet.models import Agent, Engine, EnrolmentToken, Health
from controlplane.fleet.spec import MAX_WORKER_ID, AgentSpec, validate_spec
from engine.contract import Role

__all__ = [
    "MAX_CANDIDATES",
    "MAX_WORKER_ID",
    "AgentNotFound",
    "AgentOfAnotherEngine",
    "AgentSpec",
    "EngineNotFound",
    "IssuedEnrolmentToken",
    "NameTaken",
    "NoDefaultAgent",
    "NotItsOwn",
    "Registration",
    "agents_of_engine_with",
    "agents_with",
    "change_agent",
    "create_enrolment_token",
    "default_agent",
    "default_agent_of",
    "enrol",
    "find_agent",
    "find_agent_of",
    "find_enrolment_token",
    "find_parting_token",
    "leave",
    "register_agent",
    "remove_agent",
    "remove_engine",
    "revoke_enrolment_token",
    "save_engine",
    "validate_spec",
]


@dataclass(frozen=True)
class Registration:
    """The agent as it is stored now, and whether it is new."""

    agent: Agent
    created: bool


def register_agent(
    spec: AgentSpec, *, actor: Actor, request_id: str, reason: str = ""
) -> Registration:
    """Make the agent of that name what `spec` says, creating it and its engine
    if need be. Registering the same again changes and records nothing.

    Raises django's ValidationError with a dictionary of fields.
    """
    return _upsert(validate_spec(spec), None, actor, request_id, reason)


def change_agent(
    agent: Agent, changes: Mapping[str, Any], *, actor: Actor, request_id: str
) -> Registration:
    """Change those fields of AgentSpec, and leave the rest as it is in the
    database now. Raises django's ValidationError, and AgentNotFound if the
    agent was removed meanwhile."""
    with transaction.atomic():
        locked = Agent.objects.select_for_update(of=("self",)).select_related("engine")
        known = locked.filter(pk=agent.pk).first()
        if known is None:
            raise AgentNotFound(agent.name)
        spec = {
            "name": known.name,
            "url": known.url,
            "role": Role(known.role),
            "worker_id": known.worker_id,
            "engine": known.engine.name,
            **changes,
        }
        return _upsert(validate_spec(AgentSpec(**spec)), None, actor, request_id, "")


def enrol(
    token: EnrolmentToken, spec: AgentSpec, *, caller: Actor, request_id: str
) -> Registration:
    """Register an agent that showed an enrolment token.

    Labels are an admin's and stay as they are. An enrolment token must not
    redirect calls meant for somebody else's agent, so an agent that is known
    shows the same agent token as before, with whichever enrolment token. One
    without a stored token shows the enrolment token that it came with.
    Raises django's ValidationError, and NameTaken, which goes on record.
    """
    spec = validate_spec(spec)
    actor = _as_agent(caller, spec.name, token)
    try:
        return _upsert(spec, token, actor, request_id, "")
    except NameTaken as error:
        audit.record(
            action="agent.enrol",
            actor=actor,
            request_id=request_id,
            agent=spec.name,
            engine=spec.engine,
            request={"url": spec.url},
            outcome="denied",
            status=error.status,
        )
        raise


def leave(
    token: EnrolmentToken,
    *,
    name: str,
    agent_token: str,
    boot_id: str,
    caller: Actor,
    request_id: str,
) -> Agent:
    """Note that the agent's process ends. The agent stays registered, with its
    history. Changes nothing if `boot_id` is not of its latest start: a departure may
    arrive after the next start.

    Raises AgentNotFound, and NotItsOwn, which goes on record, unless the departure
    shows the stored agent token, or, for an agent without one, the enrolment token
    that it came with.
    """
    actor = _as_agent(caller, name, token)
    with transaction.atomic():
        locked = Agent.objects.select_for_update(of=("self",)).select_related("engine")
        agent = locked.filter(name=name).first()
        if agent is None:
            raise AgentNotFound(name)
        is_its_own = _shows_its_token(agent, agent_token, token)
        if is_its_own and agent.boot_id == boot_id and agent.left_at is None:
            agent.left_at = agent.health_since = timezone.now()
            agent.health = Health.OFFLINE
            agent.save(update_fields=["left_at", "health", "health_since"])
            _record_departure(agent, actor, request_id, "succeeded", None)
    if not is_its_own:
        error = NotItsOwn(name)
        _record_departure(agent, actor, request_id, "denied", error.status)
        raise error
    return agent


def _as_agent(caller: Actor, name: str, token: EnrolmentToken) -> Actor:
    """Whoever calls, as the agent that it says it is."""
    return replace(caller, kind=ActorKind.AGENT, name=name, ref=f"enrolment_token:{token.pk}")


def _record_departure(
    agent: Agent, actor: Actor, request_id: str, outcome: str, status: int | None
) -> None:
    audit.record(
        action="agent.leave",
        actor=actor,
        request_id=request_id,
        agent=agent.name,
        engine=agent.engine.name,
        request={"boot_id": agent.boot_id},
        outcome=outcome,
        status=status,
    )


def _upsert(
    spec: AgentSpec, token: EnrolmentToken | None, actor: Actor, request_id: str, reason: str
) -> Registration:
    try:
        with transaction.atomic():
            return _write(spec, token, actor, request_id, reason)
    except IntegrityError:
        # Somebody else inserted the name in between; now it is there to be changed.
        with transaction.atomic():
            return _write(spec, token, actor, request_id, reason)


def _write(
    spec: AgentSpec, token: EnrolmentToken | None, actor: Actor, request_id: str, reason: str
) -> Registration:
    agent = Agent.objects.select_for_update().filter(name=spec.name).first()
    if agent is not None and token is not None and not _is_its_own(agent, spec, token):
        raise NameTaken(spec.name)
    before = {} if agent is None else _describe(agent)
    created = agent is None
    engine, is_new_engine = Engine.objects.get_or_create(name=spec.engine)
    agent = agent or Agent(name=spec.name)
    token_changed = _apply(spec, engine, agent)
    if token is not None:
        agent.enrolled_with = token
        agent.last_seen_at = timezone.now()
        agent.left_at = None
    after = _describe(agent)
    agent.save()
    # Last: audit entries take turns, and nobody whose turn it is may have to wait for a row.
    if is_new_engine:
        record_engine(engine, {}, actor, request_id)
    if created or token_changed or before != after:
        audit.record(
            action="agent.register" if created else "agent.update",
            actor=actor,
            request_id=request_id,
            agent=agent.name,
            reason=reason,
            engine=spec.engine,
            request={"token_changed": token_changed},
            before=before or None,
            after=after,
            outcome="succeeded",
        )
    return Registration(agent, created)


def _is_its_own(agent: Agent, spec: AgentSpec, token: EnrolmentToken) -> bool:
    shown = spec.token or ""
    stored = _readable_token(agent)
    stays = (agent.url, agent.engine.name) == (spec.url, spec.engine)
    return _shows_its_token(agent, shown, token) and (bool(stored) or stays or stored == shown)


def _shows_its_token(agent: Agent, shown: str, token: EnrolmentToken) -> bool:
    stored = _readable_token(agent)
    if stored:
        return hmac.compare_digest(stored.encode(), shown.encode())
    # Nothing to compare with: there is none, or the secret key is another one now.
    return agent.enrolled_with_id == token.pk


def _apply(spec: AgentSpec, engine: Engine, agent: Agent) -> bool:
    """Write the spec into the row; whether the token is another one now."""
    agent.engine = engine
    agent.role = spec.role.value
    agent.worker_id = spec.worker_id
    agent.url = spec.url
    if spec.dialect is not None:
        agent.dialect = spec.dialect
    if spec.labels is not None:
        agent.labels = dict(spec.labels)
    if spec.instance_id is not None:
        agent.instance_id = spec.instance_id
    if spec.boot_id is not None:
        agent.boot_id = spec.boot_id
    if spec.token is None or spec.token == _readable_token(agent):
        return False
    agent.encrypted_token = vault.encrypt(spec.token) if spec.token else ""
    return True


def _readable_token(agent: Agent) -> str | None:
    try:
        return agent.bearer_token()
    except vault.UnreadableToken:
        return None


def _describe(agent: Agent) -> dict[str, object]:
    return {
        "engine": agent.engine.name,
        "role": agent.role,
        "worker_id": agent.worker_id,
        "url": agent.url,
        "dialect": str(agent.dialect),
        "labels": agent.labels,
        "instance_id": agent.instance_id,
        "boot_id": agent.boot_id,
        "enrolled_with": agent.enrolled_with_id,
    }


def remove_agent(agent: Agent, *, actor: Actor, request_id: str, reason: str = "") -> None:
    """Forget the agent; the audit log keeps what it was."""
    before = _describe(agent)
    with transaction.atomic():
        Agent.objects.filter(pk=agent.pk).delete()
        audit.record(
            action="agent.remove",
            actor=actor,
            request_id=request_id,
            agent=agent.name,
            reason=reason,
            engine=agent.engine.name,
            before=before,
            outcome="succeeded",
        )
