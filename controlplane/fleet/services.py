"""Registering, enrolling, finding and observing agents, and taking their leave."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from controlplane.accounts.secrets import ENROLMENT_TOKEN_PREFIX, digest_of, make_secret
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor, ActorKind
from controlplane.fleet import vault
from controlplane.fleet.models import Agent, Dialect, Engine, EnrolmentToken
from controlplane.fleet.validation import normalise_url, validate_labels, validate_name
from controlplane.rows import Columns, read_rows
from engine.contract import Component, ContractError, Role, Unauthorized

MAX_CANDIDATES = 100
MAX_WORKER_ID = 65_535
# What a forwarded call needs.
_CALLABLE = (
    Columns(
        Agent,
        "agent",
        ("id", "name", "engine", "role", "worker_id", "url", "dialect", "encrypted_token"),
    ),
)


class AgentNotFound(ContractError):
    """No agent of that name is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(
            404,
            "Agent not found",
            f"No agent '{name[:128]}' is registered; GET /api/v1/agents/ lists the names.",
        )


class EngineNotFound(ContractError):
    """No engine of that name has an agent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            404,
            "Engine not found",
            f"No engine '{name[:128]}' is known; GET /api/v1/engines/ lists the names.",
        )


class AgentOfAnotherEngine(ContractError):
    """An agent and an engine were named that do not belong together."""

    def __init__(self, agent: str, engine: str) -> None:
        super().__init__(
            409,
            "Agent of another engine",
            f"Agent '{agent}' does not belong to the engine '{engine[:128]}'; name one of them.",
        )


class NoDefaultAgent(ContractError):
    """Not exactly one agent has what the path needs."""

    def __init__(self, component: Component, candidates: list[str]) -> None:
        what = component.value.replace("_", " ")
        super().__init__(
            409,
            "No default agent",
            f"{len(candidates)} agents have the {what} that this path needs; name one with "
            "?agent=, the X-KVPlane-Agent header or /agents/<name>/, or its engine with ?engine= "
            "or X-KVPlane-Engine."
            if candidates
            else f"No agent with the {what} that this path needs is registered and running; "
            "register one at /api/v1/agents/ or start one with an enrolment token.",
            {"candidates": candidates},
        )


class NameTaken(ContractError):
    """An enrolment tried to take over somebody else's agent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            "Agent name taken",
            f"An agent '{name}' is known, and this enrolment did not prove to be its own: the "
            "agent_token is not the stored one. Choose another name, or have an admin store "
            "the new agent_token or remove that agent.",
        )


class NotItsOwn(ContractError):
    """A departure was announced for somebody else's agent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            403,
            "Not its own",
            f"Only agent '{name}' itself says that it ends: the agent_token is not the stored "
            "one. Admins may remove it.",
        )


@dataclass(frozen=True)
class AgentSpec:
    """What is to be known about an agent.

    `worker_id` is None for a scheduler. `token` is in the clear; "" removes the
    stored one. What is None stays as it is, or as it is by default for a new
    agent. `engine` is the engine's name.
    """

    name: str
    url: str
    role: Role
    worker_id: int | None
    engine: str
    dialect: Dialect | None = None
    token: str | None = field(default=None, repr=False)
    labels: Mapping[str, str] | None = None
    instance_id: str | None = None
    boot_id: str | None = None


@dataclass(frozen=True)
class Registration:
    """The agent as it is stored now, and whether it is new."""

    agent: Agent
    created: bool


@dataclass(frozen=True)
class IssuedEnrolmentToken:
    """A token just made. `plaintext` exists nowhere else and is shown once."""

    token: EnrolmentToken
    plaintext: str

    def __repr__(self) -> str:
        return f"IssuedEnrolmentToken(token={self.token!r})"


def find_agent(name: str) -> Agent:
    """The agent of that name, in one query; what a call does not need loads when
    asked for. Raises AgentNotFound."""
    found = read_rows(_CALLABLE, "FROM fleet_agent agent WHERE name = %s", [name])
    if not found:
        raise AgentNotFound(name)
    agent: Agent = found[0][0]
    return agent


def find_agent_of(engine: str, name: str) -> Agent:
    """The agent of that name, which must belong to that engine. Raises AgentNotFound
    and AgentOfAnotherEngine."""
    agent = find_agent(name)
    if not Agent.objects.filter(name=name, engine__name=engine).exists():
        raise AgentOfAnotherEngine(name, engine)
    return agent


def agents_with(component: Component) -> list[Agent]:
    """Agents that have the component when all is well and have not left, by name; at
    most MAX_CANDIDATES of them."""
    return _with_component(component, "", [])


def agents_of_engine_with(engine: str, component: Component) -> list[Agent]:
    """As agents_with, of one engine. Raises EngineNotFound."""
    agents = _with_component(
        component,
        "AND agent.engine_id = (SELECT id FROM fleet_engine WHERE name = %s)",
        [engine],
    )
    if not agents and not Engine.objects.filter(name=engine).exists():
        raise EngineNotFound(engine)
    return agents


def _with_component(component: Component, condition: str, values: list[str]) -> list[Agent]:
    roles = [role.value for role in component.default_roles]
    places = ", ".join(["%s"] * len(roles))
    found = read_rows(
        _CALLABLE,
        f"FROM fleet_agent agent WHERE role IN ({places}) AND left_at IS NULL {condition} "
        "ORDER BY name LIMIT %s",
        [*roles, *values, MAX_CANDIDATES],
    )
    return [agent for (agent,) in found]


def default_agent_of(engine: str, component: Component) -> Agent:
    """The only agent of that engine that has the component. Raises EngineNotFound and
    NoDefaultAgent."""
    return _the_only(agents_of_engine_with(engine, component), component)


def default_agent(component: Component) -> Agent:
    """The only agent that has the component, in one query. Raises
    NoDefaultAgent, with the candidates' names, if it is not exactly one."""
    return _the_only(agents_with(component), component)


def _the_only(agents: list[Agent], component: Component) -> Agent:
    if len(agents) != 1:
        raise NoDefaultAgent(component, [agent.name for agent in agents])
    return agents[0]


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


def find_enrolment_token(plaintext: str) -> EnrolmentToken:
    """The token that agents may enrol with. Raises Unauthorized."""
    token = EnrolmentToken.objects.filter(digest=digest_of(plaintext)).first()
    if token is None or not token.is_usable:
        raise Unauthorized("The enrolment token is unknown, revoked or expired; ask an admin.")
    return token


def find_parting_token(plaintext: str) -> EnrolmentToken:
    """The token that agents may take their leave with: it may have expired since they
    enrolled. Raises Unauthorized."""
    token = EnrolmentToken.objects.filter(digest=digest_of(plaintext), revoked_at=None).first()
    if token is None:
        raise Unauthorized("The enrolment token is unknown or revoked; ask an admin.")
    return token


def enrol(
    token: EnrolmentToken, spec: AgentSpec, *, source_address: str, request_id: str
) -> Registration:
    """Register an agent that showed an enrolment token.

    Labels are an admin's and stay as they are. An enrolment token must not
    redirect calls meant for somebody else's agent, so an agent that is known
    shows the same agent token as before, with whichever enrolment token. One
    without a stored token shows the enrolment token that it came with.
    Raises django's ValidationError, and NameTaken, which goes on record.
    """
    spec = validate_spec(spec)
    actor = Actor(ActorKind.AGENT, spec.name, f"enrolment_token:{token.pk}", source_address)
    try:
        return _upsert(spec, token, actor, request_id, "")
    except NameTaken as error:
        audit.record(
            action="agent.enrol",
            actor=actor,
            request_id=request_id,
            agent=spec.name,
            request={"url": spec.url, "engine": spec.engine},
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
    source_address: str,
    request_id: str,
) -> Agent:
    """Note that the agent's process ends. The agent stays registered, with its
    history. Changes nothing if `boot_id` is not of its latest start: a departure may
    arrive after the next start.

    Raises AgentNotFound, and NotItsOwn, which goes on record, unless the departure
    shows the stored agent token, or, for an agent without one, the enrolment token
    that it came with.
    """
    actor = Actor(ActorKind.AGENT, name, f"enrolment_token:{token.pk}", source_address)
    with transaction.atomic():
        locked = Agent.objects.select_for_update(of=("self",)).select_related("engine")
        agent = locked.filter(name=name).first()
        if agent is None:
            raise AgentNotFound(name)
        is_its_own = _shows_its_token(agent, agent_token, token)
        if is_its_own and agent.boot_id == boot_id and agent.left_at is None:
            agent.left_at = timezone.now()
            agent.save(update_fields=["left_at"])
            _record_departure(agent, actor, request_id, "succeeded", None)
    if not is_its_own:
        error = NotItsOwn(name)
        _record_departure(agent, actor, request_id, "denied", error.status)
        raise error
    return agent


def _record_departure(
    agent: Agent, actor: Actor, request_id: str, outcome: str, status: int | None
) -> None:
    audit.record(
        action="agent.leave",
        actor=actor,
        request_id=request_id,
        agent=agent.name,
        request={"boot_id": agent.boot_id, "engine": agent.engine.name},
        outcome=outcome,
        status=status,
    )


def validate_spec(spec: AgentSpec) -> AgentSpec:
    """The spec with its URL in normal form. Raises django's ValidationError with
    a dictionary of fields."""
    errors: dict[str, list[str]] = {}
    url = spec.url
    try:
        url = normalise_url(spec.url)
    except ValidationError as error:
        errors["url"] = error.messages
    checks: tuple[tuple[str, Callable[[Any], None], object], ...] = (
        ("name", validate_name, spec.name),
        ("engine", validate_name, spec.engine),
        ("labels", validate_labels, spec.labels or {}),
    )
    for name, check, value in checks:
        try:
            check(value)
        except ValidationError as error:
            errors[name] = error.messages
    if spec.role is Role.WORKER and spec.worker_id is None:
        errors["worker_id"] = ["A worker has a worker id, 0 for the first."]
    if spec.role is Role.SCHEDULER and spec.worker_id is not None:
        errors["worker_id"] = ["A scheduler has no worker id; leave it out."]
    if spec.worker_id is not None and not 0 <= spec.worker_id <= MAX_WORKER_ID:
        errors["worker_id"] = [f"A worker id is 0 to {MAX_WORKER_ID}."]
    if spec.token and not _is_header_value(spec.token):
        errors["token"] = ["A token has visible ASCII characters only."]
    if errors:
        raise ValidationError(errors)
    return AgentSpec(**{**vars(spec), "url": url})


def _is_header_value(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token


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
    engine = _engine_named(spec.engine, actor, request_id)
    agent = agent or Agent(name=spec.name)
    token_changed = _apply(spec, engine, agent)
    if token is not None:
        agent.enrolled_with = token
        agent.last_seen_at = timezone.now()
        agent.left_at = None
    after = _describe(agent)
    agent.save()
    if created or token_changed or before != after:
        audit.record(
            action="agent.register" if created else "agent.update",
            actor=actor,
            request_id=request_id,
            agent=agent.name,
            reason=reason,
            request={"before": before, "after": after, "token_changed": token_changed},
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


def _engine_named(name: str, actor: Actor, request_id: str) -> Engine:
    engine, created = Engine.objects.get_or_create(name=name)
    if created:
        _record_engine(engine, {}, actor, request_id)
    return engine


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
            request={"before": before},
            outcome="succeeded",
        )


def save_engine(
    engine: Engine,
    *,
    name: str,
    labels: Mapping[str, str],
    actor: Actor,
    request_id: str,
) -> Engine:
    """Create the engine or change its name and labels. Raises django's
    ValidationError and IntegrityError."""
    validate_name(name)
    validate_labels(labels)
    before = {} if engine.pk is None else _describe_engine(engine)
    with transaction.atomic():
        engine.name = name
        engine.labels = dict(labels)
        engine.save()
        if before != _describe_engine(engine):
            _record_engine(engine, before, actor, request_id)
    return engine


def _describe_engine(engine: Engine) -> dict[str, object]:
    return {"name": engine.name, "labels": engine.labels}


def _record_engine(
    engine: Engine, before: dict[str, object], actor: Actor, request_id: str
) -> None:
    audit.record(
        action="engine.update" if before else "engine.create",
        actor=actor,
        request_id=request_id,
        request={"before": before, "after": _describe_engine(engine)},
        outcome="succeeded",
    )


def remove_engine(engine: Engine, *, actor: Actor, request_id: str) -> None:
    """Forget an engine without agents. Raises ContractError 409 if it has some."""
    before = _describe_engine(engine)
    with transaction.atomic():
        if engine.agents.exists():
            raise ContractError(
                409, "Engine in use", f"The engine '{engine.name}' has agents; remove them first."
            )
        engine.delete()
        audit.record(
            action="engine.remove",
            actor=actor,
            request_id=request_id,
            request={"before": before},
            outcome="succeeded",
        )


def create_enrolment_token(
    *, name: str, expires_at: datetime | None, actor: Actor, request_id: str
) -> IssuedEnrolmentToken:
    """Make a token with which agents register themselves."""
    secret = make_secret(ENROLMENT_TOKEN_PREFIX)
    with transaction.atomic():
        token = EnrolmentToken.objects.create(
            name=name, prefix=secret.prefix, digest=secret.digest, expires_at=expires_at
        )
        audit.record(
            action="enrolment_token.create",
            actor=actor,
            request_id=request_id,
            request={
                "id": token.pk,
                "name": name,
                "prefix": token.prefix,
                "expires_at": expires_at.isoformat() if expires_at else None,
            },
            outcome="succeeded",
        )
    return IssuedEnrolmentToken(token, secret.plaintext)


def revoke_enrolment_token(token: EnrolmentToken, *, actor: Actor, request_id: str) -> None:
    """Make the token useless from now on; agents enrolled with it stay."""
    usable: QuerySet[EnrolmentToken] = EnrolmentToken.objects.filter(pk=token.pk, revoked_at=None)
    with transaction.atomic():
        if usable.update(revoked_at=timezone.now()):
            audit.record(
                action="enrolment_token.revoke",
                actor=actor,
                request_id=request_id,
                request={"id": token.pk, "name": token.name, "prefix": token.prefix},
                outcome="succeeded",
            )
