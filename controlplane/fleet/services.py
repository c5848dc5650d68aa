"""Registering, enrolling, finding and observing agents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from controlplane.accounts.secrets import ENROLMENT_TOKEN_PREFIX, digest_of, make_secret
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.redaction import redact
from controlplane.fleet import vault
from controlplane.fleet.models import Agent, Dialect, Engine, EnrolmentToken
from controlplane.fleet.validation import normalise_url, validate_labels, validate_name
from engine.contract import Component, ContractError, Role, Unauthorized

MAX_CANDIDATES = 100
# Written out because every forwarded call runs it: making this SQL from a query
# set takes longer than running it. What a call does not need loads when asked for.
_SELECT_AGENTS = (
    "SELECT id, name, engine_id, role, worker_id, url, dialect, encrypted_token FROM fleet_agent"
)


class AgentNotFound(ContractError):
    """No agent of that name is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(
            404,
            "Agent not found",
            f"No agent '{name[:128]}' is registered; GET /api/v1/agents/ lists the names.",
        )


class NoDefaultAgent(ContractError):
    """Not exactly one agent has what the path needs."""

    def __init__(self, component: Component, candidates: list[str]) -> None:
        what = component.value.replace("_", " ")
        super().__init__(
            409,
            "No default agent",
            f"{len(candidates)} agents have the {what} that this path needs; name one with "
            "?agent=, the X-KVPlane-Agent header or /agents/<name>/."
            if candidates
            else f"No agent with the {what} that this path needs is registered; register one "
            "at /api/v1/agents/ or start one with an enrolment token.",
            {"candidates": candidates},
        )


class NameTaken(ContractError):
    """An enrolment token tried to take over somebody else's agent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            "Agent name taken",
            f"An agent '{name}' exists and was not enrolled with this token. Choose another "
            "name, or have an admin remove that agent.",
        )


@dataclass(frozen=True)
class AgentSpec:
    """What is to be known about an agent.

    `worker_id` is None for a scheduler. `token` is in the clear; "" removes the
    stored one. A token or labels of None stay as they are. `engine` is the
    engine's name.
    """

    name: str
    url: str
    role: Role
    worker_id: int | None
    engine: str
    dialect: Dialect = Dialect.KVPLANE
    token: str | None = field(default=None, repr=False)
    labels: Mapping[str, str] | None = None
    instance_id: str = ""
    boot_id: str = ""


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
    """The agent of that name, in one query. Raises AgentNotFound."""
    for agent in Agent.objects.raw(f"{_SELECT_AGENTS} WHERE name = %s", [name]):
        return agent
    raise AgentNotFound(name)


def agents_with(component: Component) -> list[Agent]:
    """Agents that have the component when all is well, by name; at most
    MAX_CANDIDATES of them."""
    roles = [role.value for role in Role if component.held_by(role)]
    places = ", ".join(["%s"] * len(roles))
    return list(
        Agent.objects.raw(
            f"{_SELECT_AGENTS} WHERE role IN ({places}) ORDER BY name LIMIT %s",
            [*roles, MAX_CANDIDATES],
        )
    )


def default_agent(component: Component) -> Agent:
    """The only agent that has the component, in one query. Raises
    NoDefaultAgent, with the candidates' names, if it is not exactly one."""
    agents = agents_with(component)
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
    spec = validate_spec(spec)
    with transaction.atomic():
        return _upsert(spec, None, actor, request_id, reason)


def find_enrolment_token(plaintext: str) -> EnrolmentToken:
    """The token that agents may enrol with. Raises Unauthorized."""
    token = EnrolmentToken.objects.filter(digest=digest_of(plaintext)).first()
    if token is None or not token.is_usable:
        raise Unauthorized("The enrolment token is unknown, revoked or expired; ask an admin.")
    return token


def enrol(
    token: EnrolmentToken, spec: AgentSpec, *, source_address: str, request_id: str
) -> Registration:
    """Register an agent that showed an enrolment token.

    Labels are an admin's and stay as they are. Raises django's ValidationError,
    and NameTaken if an agent of that name exists that was not enrolled with the
    same token: an enrolment token must not redirect calls meant for somebody
    else's agent.
    """
    spec = validate_spec(spec)
    actor = Actor(ActorKind.AGENT, spec.name, f"enrolment_token:{token.pk}", source_address)
    with transaction.atomic():
        return _upsert(spec, token, actor, request_id, "")


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
    engine, _ = Engine.objects.get_or_create(name=spec.engine)
    agent = Agent.objects.select_for_update().filter(name=spec.name).first()
    if agent is None:
        agent = Agent(name=spec.name, engine=engine, enrolled_with=token)
        before: dict[str, object] = {}
    elif token is not None and agent.enrolled_with_id != token.pk:
        raise NameTaken(spec.name)
    else:
        before = _describe(agent)
    created = agent.pk is None
    token_changed = _apply(spec, engine, agent)
    if token is not None:
        agent.last_seen_at = timezone.now()
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


def _apply(spec: AgentSpec, engine: Engine, agent: Agent) -> bool:
    """Write the spec into the row; whether the token is another one now."""
    agent.engine = engine
    agent.role = spec.role.value
    agent.worker_id = spec.worker_id
    agent.url = spec.url
    agent.dialect = spec.dialect
    if spec.labels is not None:
        agent.labels = dict(spec.labels)
    agent.instance_id = spec.instance_id
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
    }


def remove_agent(agent: Agent, *, actor: Actor, request_id: str, reason: str = "") -> None:
    """Forget the agent; the audit log keeps what it was."""
    with transaction.atomic():
        audit.record(
            action="agent.remove",
            actor=actor,
            request_id=request_id,
            agent=agent.name,
            reason=reason,
            request={"before": _describe(agent)},
            outcome="succeeded",
        )
        Agent.objects.filter(pk=agent.pk).delete()


def record_observation(agent: Agent, status: Mapping[str, object]) -> None:
    """Keep what the agent just said about itself. No change, so no audit."""
    agent.last_seen_at = timezone.now()
    agent.last_status = redact(status)
    agent.boot_id = str(status.get("boot_id") or agent.boot_id)[:64]
    agent.instance_id = str(status.get("instance_id") or agent.instance_id)[:255]
    agent.save(update_fields=["last_seen_at", "last_status", "boot_id", "instance_id"])


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
    created = engine.pk is None
    before = {} if created else {"name": engine.name, "labels": engine.labels}
    after = {"name": name, "labels": dict(labels)}
    with transaction.atomic():
        engine.name = name
        engine.labels = dict(labels)
        engine.save()
        if before != after:
            audit.record(
                action="engine.create" if created else "engine.update",
                actor=actor,
                request_id=request_id,
                request={"before": before, "after": after},
                outcome="succeeded",
            )
    return engine


def remove_engine(engine: Engine, *, actor: Actor, request_id: str) -> None:
    """Forget an engine without agents. Raises ContractError 409 if it has some."""
    with transaction.atomic():
        if engine.agents.exists():
            raise ContractError(
                409, "Engine in use", f"The engine '{engine.name}' has agents; remove them first."
            )
        audit.record(
            action="engine.remove",
            actor=actor,
            request_id=request_id,
            request={"before": {"name": engine.name, "labels": engine.labels}},
            outcome="succeeded",
        )
        engine.delete()


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
