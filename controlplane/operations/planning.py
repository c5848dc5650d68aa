"""Putting an operation over several agents on record, with its plan."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.limits import MAX_REASON
from controlplane.audit.models import Stage
from controlplane.audit.redaction import REDACTED, redact_text
from controlplane.configuration import services as configuration
from controlplane.configuration.values import shows_secret
from controlplane.fleet.models import Agent
from controlplane.fleet.vault import seal, unseal
from controlplane.operations.calls import Call, check_reason, read_call
from controlplane.operations.effects import CONF_UPDATE, Wishes, check_wishes
from controlplane.operations.errors import NotForPeople, NotRecorded, SecretsNotKept
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.once import KeyReused, Once, fingerprint
from controlplane.operations.recording import common_engine
from controlplane.operations.selecting import Selector, select
from controlplane.operations.strategy import Strategy, check_strategy
from controlplane.rows import insert_rows
from engine.contract import ContractError, Endpoint, endpoint

MAX_CONCURRENCY = 256
_REPEATED = (State.FAILED, State.PARTIALLY_FAILED, State.UNKNOWN)


class NothingToRetry(ContractError):
    """An operation that is not finished, or whose every agent succeeded."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(
            409,
            "Nothing to retry",
            f"Operation {operation.pk} is {operation.state}; only agents that failed in a "
            "finished operation are called again.",
        )


class RetriedAlready(ContractError):
    """An operation of which a retry is not finished."""

    def __init__(self, operation: Operation, retry: Operation) -> None:
        super().__init__(
            409,
            "Retried already",
            f"Operation {retry.pk} retries operation {operation.pk} and is {retry.state}; wait "
            "for its end.",
            {"operation": str(retry.pk)},
        )


@dataclass(frozen=True)
class Plan:
    """What is to be done, to whom, and how. `timeout_s` is in seconds, for each
    agent."""

    endpoint: Endpoint
    selector: Selector
    parameters: Mapping[str, object] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    strategy: Strategy = field(default_factory=Strategy)
    wishes: Wishes = field(default_factory=Wishes)
    expiry: str = ""
    """As the caller wrote it: seconds from now are another moment with each call."""
    timeout_s: float = 30.0
    concurrency: int = 64
    reason: str = ""

    def call(self) -> Call:
        """The call that each agent gets. Raises ContractError (400)."""
        query = urlencode(
            {name: _written(value) for name, value in self.parameters.items()}, doseq=True
        )
        body = None if self.body is None else json.dumps(self.body).encode()
        takes_body = self.endpoint.body_schema is not None
        if takes_body != (body is not None):
            raise ContractError(
                400,
                "Invalid body",
                f"'body': {self.endpoint.action} {'needs one' if takes_body else 'takes none'}.",
            )
        return read_call(self.endpoint, query, body)

    def fingerprint(self) -> str:
        """SHA-256, hexadecimal, of everything that the caller asked for."""
        return fingerprint(
            self.endpoint.operation_id,
            self.selector.describe(),
            dict(self.parameters),
            self.body,
            self.strategy.describe(),
            self.timeout_s,
            self.concurrency,
            self.reason,
            self.expiry,
        )


@dataclass(frozen=True)
class Planned:
    """The operation, and whether it was there before, under the same key."""

    operation: Operation
    repeated: bool


def plan_operation(plan: Plan, *, key: str, actor: Actor, request_id: str) -> Planned:
    """Put the operation and its targets on record; nobody is called yet. The same
    `key` by the same actor is the same operation; "" is no key.

    Raises ContractError (400) for a plan that cannot be carried out, KeyReused and
    NotRecorded.
    """
    once = Once(key, plan.fingerprint())
    if (known := once.known(actor)) is not None:
        return Planned(known, repeated=True)
    call = plan.call()
    check_wishes(plan.endpoint, plan.wishes)
    check_strategy(plan.strategy, plan.endpoint)
    check_reason(plan.reason)
    agents = select(plan.selector, plan.endpoint)
    call = replace(call, secrets=_secrets_of(call, [agent.name for agent in agents]))
    operation = Operation(
        selector=plan.selector.describe(),
        strategy=plan.strategy.describe(),
        options=plan.wishes.describe(),
        concurrency=plan.concurrency,
        timeout_s=plan.timeout_s,
        idempotency_key=once.key,
        fingerprint=once.fingerprint,
        **_origin(call, plan.reason, actor, request_id),
    )
    waves = plan.strategy.waves(len(agents))
    rows = [_target(operation, agent, wave) for agent, wave in zip(agents, waves, strict=True)]
    try:
        _record(operation, rows, common_engine(agents), actor)
    except IntegrityError:
        known = once.known(actor)
        if known is None:
            raise
        return Planned(known, repeated=True)
    return Planned(operation, repeated=False)


def was_planned(plan: Plan, *, key: str, actor: Actor) -> bool:
    """Whether plan_operation() would find the operation on record already. Raises
    KeyReused."""
    return Once(key, plan.fingerprint()).known(actor) is not None


def agents_to_repeat(operation: Operation) -> list[Agent]:
    """The agents that a retry would call, by name. Raises NothingToRetry and
    NotForPeople."""
    failed = operation.targets.filter(state__in=_REPEATED).values_list("agent", flat=True)
    found = Agent.objects.filter(name__in=list(failed)).select_related("engine")
    known = list(found.order_by("name"))
    if not State(operation.state).is_final or not known:
        raise NothingToRetry(operation)
    if operation.undo_of is not None or operation.actor_kind == ActorKind.CONTROLLER:
        raise NotForPeople(operation)
    return known


def retries_of(operation: Operation) -> list[Operation]:
    """The operations that called its failures again, oldest first."""
    return list(Operation.objects.filter(retry_of=operation.pk).order_by("pk"))


def plan_retry(
    operation: Operation, *, actor: Actor, request_id: str, reason: str = "", key: str = ""
) -> Operation:
    """Put an operation on record that calls the agents again for which it failed. The same
    `key` by the same actor is the same retry; "" is no key.
    Without a reason it says what it retries, not why somebody else wanted it. Raises
    NothingToRetry, RetriedAlready, KeyReused, NotForPeople, NotRecorded, and ContractError
    (400) for a reason that is too long or if its time is over."""
    check_reason(reason)
    if key and (same := _retry_under_key(key, operation, actor)) is not None:
        return same
    known = agents_to_repeat(operation)
    call = call_of(operation)
    check_wishes(call.endpoint, wishes_of(operation))
    call = replace(call, secrets=_secrets_of(call, [agent.name for agent in known]))
    retry = Operation(
        selector={"agents": [agent.name for agent in known]},
        strategy=operation.strategy,
        options=operation.options,
        concurrency=operation.concurrency,
        timeout_s=operation.timeout_s,
        retry_of=operation.pk,
        idempotency_key=key,
        **_origin(call, reason or f"retries operation {operation.pk}", actor, request_id),
    )
    waves = Strategy.of(operation.strategy).waves(len(known))
    rows = [_target(retry, agent, wave) for agent, wave in zip(known, waves, strict=True)]
    try:
        _record(retry, rows, common_engine(known), actor)
    except IntegrityError:
        same = _retry_under_key(key, operation, actor) if key else None
        if same is None:
            raise
        return same
    return retry


def call_of(operation: Operation) -> Call:
    """The call that the operation makes, secrets in the clear. Raises
    UnreadableSecret, and SecretsNotKept for one of an older version."""
    sealed = unseal(operation.sealed)
    query = str(sealed.get("query", operation.query))
    document = sealed.get("body", operation.body)
    if not sealed and (shows_secret(document) or REDACTED in query):
        raise SecretsNotKept(operation)
    body = None if document is None else json.dumps(document).encode()
    return read_call(endpoint(operation.endpoint), query, body)


def wishes_of(operation: Operation) -> Wishes:
    """What was wished beyond the call."""
    return Wishes.of(operation.options)


def actor_of(operation: Operation) -> Actor:
    """Who asked for it."""
    return Actor(
        ActorKind(operation.actor_kind),
        operation.actor_name,
        operation.actor_ref,
        operation.source_address,
        operation.user_agent,
        operation.on_behalf_of,
    )


def _secrets_of(call: Call, agents: Sequence[str]) -> frozenset[str]:
    return configuration.known_secrets(agents) if call.action == CONF_UPDATE else frozenset()


def _retry_under_key(key: str, operation: Operation, actor: Actor) -> Operation | None:
    known = Operation.objects.filter(actor_ref=actor.ref, idempotency_key=key).first()
    if known is not None and known.retry_of != operation.pk:
        raise KeyReused(key, known)
    return known


def _origin(call: Call, reason: str, actor: Actor, request_id: str) -> dict[str, object]:
    shown_query, shown_body = call.shown_query(), call.shown_document()
    return {
        "action": call.action,
        "endpoint": call.endpoint.operation_id,
        "query": shown_query,
        "body": shown_body,
        "sealed": seal(call.hidden()),
        "actor_kind": actor.kind,
        "actor_name": actor.name,
        "actor_ref": actor.ref,
        "source_address": actor.source_address,
        "user_agent": actor.user_agent,
        "on_behalf_of": actor.on_behalf_of,
        "reason": redact_text(reason)[:MAX_REASON],
        "request_id": request_id,
        "state": State.PENDING,
        "created_at": timezone.now(),
    }


def _target(operation: Operation, agent: Agent, wave: int) -> OperationTarget:
    return OperationTarget(operation=operation, agent=agent.name, state=State.PENDING, wave=wave)


def _record(operation: Operation, rows: list[OperationTarget], engine: str, actor: Actor) -> None:
    try:
        with transaction.atomic(durable=True):
            _check_only_retry(operation)
            insert_rows(operation, *rows)
            audit.record(
                stage=Stage.REQUESTED,
                action=operation.action,
                actor=actor,
                request_id=operation.request_id,
                operation_id=operation.pk,
                target=f"operation:{operation.pk}",
                engine=engine,
                reason=operation.reason,
                request={
                    "method": endpoint(operation.endpoint).method,
                    "path": endpoint(operation.endpoint).path,
                    "query": operation.query,
                    "body": operation.body,
                    "selector": operation.selector,
                    "strategy": operation.strategy,
                    "agents": [row.agent for row in rows],
                },
            )
    except IntegrityError:
        raise
    except DatabaseError as error:
        raise NotRecorded from error


def _check_only_retry(operation: Operation) -> None:
    """Raises RetriedAlready. For the transaction in which the operation is written."""
    if operation.retry_of is None:
        return
    # Two that come at the same time look one after the other.
    retried = Operation.objects.select_for_update().get(pk=operation.retry_of)
    others = Operation.objects.filter(retry_of=retried.pk)
    under_way = others.filter(state__in=(State.PENDING, State.RUNNING)).first()
    if under_way is not None:
        raise RetriedAlready(retried, under_way)


def _written(value: object) -> object:
    """A parameter as it stands in a query string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
