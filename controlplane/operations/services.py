"""Performing a change: recorded, sent, recorded again.

    1  one transaction: Operation, its targets, the desired state as pending, an
       audit entry "requested"; if it fails the caller gets 503 and no agent was
       touched
    2  no transaction open: every target is called at once
    3  one transaction: the outcomes, the desired state as it is now, an audit
       entry "completed"
    4  on commit: one event to whoever watches

A crash between 1 and 3 leaves the operation in `running`, for the control loop
to find.
"""

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from controlplane import forwarding
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.audit.authorship import Authorship
from controlplane.audit.limits import MAX_REASON
from controlplane.audit.models import Stage
from controlplane.audit.redaction import redact_text
from controlplane.configuration import services as configuration
from controlplane.configuration.errors import ChangeInProgress
from controlplane.fleet.models import Agent
from controlplane.fleet.vault import seal
from controlplane.forwarding import AgentAnswer, AgentFailure
from controlplane.operations.calls import Call, check_reason, read_call
from controlplane.operations.effects import (
    CONF_UPDATE,
    Begun,
    Effect,
    Wishes,
    check_wishes,
    effect_of,
)
from controlplane.operations.errors import CallBrokeDown, NotRecorded, OutcomeNotRecorded, TakenOver
from controlplane.operations.ids import new_operation_id
from controlplane.operations.importing import import_unknown
from controlplane.operations.lease import GRACE, this_process, until
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.once import AS_OFTEN_AS_SENT, Once
from controlplane.operations.outcomes import (
    OUTCOME_FIELDS,
    Outcome,
    fill,
    joint_state,
    outcome_of,
)
from controlplane.operations.recording import common_engine, record_completed
from controlplane.operations.sampling import sample_after, sample_before
from controlplane.rows import Changed, insert_rows, update_rows
from engine.contract import ContractError, Endpoint

logger = logging.getLogger(__name__)
_TURN_SECONDS = 2.0
_TURN_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Performed:
    """A finished operation with an outcome for each target, in their order."""

    operation: Operation
    outcomes: list[Outcome]
    begun: list[Begun] = field(default_factory=list, repr=False)
    """What was put on record for each target."""

    def answer(self) -> AgentAnswer:
        """The answer of the only target. Raises its AgentFailure, which then
        names the operation."""
        (outcome,) = self.outcomes
        if isinstance(outcome.result, AgentFailure):
            outcome.result.extra["operation"] = str(self.operation.pk)
            raise outcome.result
        return outcome.result

    def problems(self) -> list[str]:
        """What went wrong on the only target; empty if nothing did."""
        if self.operation.state == State.SUCCEEDED:
            return []
        try:
            answer = self.answer()
        except ContractError as error:
            return [error.message]
        document = answer.document if isinstance(answer.document, dict) else {}
        errors = document.get("errors")
        if isinstance(errors, dict) and errors:
            return [f"{key}: {why}" for key, why in errors.items()]
        return [str(document.get("message", f"status {answer.status}"))]


@dataclass(frozen=True)
class _Terms:
    """What else the record of a request holds."""

    timeout_s: float
    undo_of: uuid.UUID | None
    options: Mapping[str, object]
    once: Once


@dataclass(frozen=True)
class _Request:
    """What step 1 put on record."""

    operation: Operation
    rows: list[OperationTarget]
    begun: list[Begun]
    secrets: frozenset[str]


def perform(
    endpoint: Endpoint,
    targets: Sequence[Agent],
    *,
    query: str,
    body: bytes | None,
    actor: Actor,
    reason: str,
    request_id: str,
    timeout: float,
    wishes: Wishes | None = None,
    undo_of: uuid.UUID | None = None,
    once: Once = AS_OFTEN_AS_SENT,
) -> Performed:
    """Make one change on all targets, each with its own timeout in seconds.

    `endpoint` is one with an `action`, `query` the raw query string, `body` the
    JSON to send. Failures of agents are outcomes, not exceptions. Raises SentBefore
    and KeyReused for a request that came before, NotRecorded, OutcomeNotRecorded, TakenOver,
    ContractError (400) for a query that the endpoint cannot read or a reason that is too
    long, (409) if desired state does not allow the change, and ValueError for an endpoint
    that only reads or for no targets.
    """
    once.check(actor)
    call = read_call(endpoint, query, body)
    wishes = wishes or Wishes()
    check_wishes(endpoint, wishes)
    effect = effect_of(endpoint, call.values, call.document, wishes)
    return carry_out(
        call,
        effect,
        targets,
        actor=actor,
        reason=reason,
        request_id=request_id,
        timeout=timeout,
        undo_of=undo_of,
        wishes=wishes,
        once=once,
    )


def carry_out(
    call: Call,
    effect: Effect,
    targets: Sequence[Agent],
    *,
    actor: Actor,
    reason: str,
    request_id: str,
    timeout: float,
    undo_of: uuid.UUID | None = None,
    wishes: Wishes | None = None,
    once: Once = AS_OFTEN_AS_SENT,
) -> Performed:
    """As perform(), with the effect on desired state given by the caller."""
    if not targets:
        raise ValueError("there is nobody to call")
    check_reason(reason)
    if call.action == CONF_UPDATE:
        names = [agent.name for agent in targets]
        call = replace(call, secrets=configuration.known_secrets(names))
    import_unknown(call.endpoint, targets, request_id=request_id, timeout=timeout)
    sample_before(call.endpoint, targets, request_id=request_id, timeout=timeout)
    by = Authorship(actor, reason, request_id, new_operation_id())
    options = {} if wishes is None else wishes.describe()
    terms = _Terms(timeout, undo_of, options, once)
    request = _record_in_turn(call, effect, targets, by, terms)
    started = time.perf_counter()
    results: Sequence[AgentAnswer | AgentFailure] = [CallBrokeDown(a.name) for a in targets]
    try:
        results = forwarding.send_all(
            targets,
            call.endpoint,
            query=call.query,
            body=call.body,
            request_id=request_id,
            timeout=timeout,
        )
    finally:
        # Also when an exception goes on from here: what may have been changed
        # must not look as if it were still under way.
        duration_ms = (time.perf_counter() - started) * 1000
        outcomes = [
            outcome_of(agent, result) for agent, result in zip(targets, results, strict=True)
        ]
        _record_outcomes(request, outcomes, actor, duration_ms)
    sample_after(call.endpoint, outcomes, request_id=request_id, timeout=timeout)
    return Performed(request.operation, outcomes, request.begun)


def _record_in_turn(
    call: Call,
    effect: Effect,
    targets: Sequence[Agent],
    by: Authorship,
    terms: _Terms,
) -> _Request:
    """Put the request on record. Two changes of one configuration take turns: wait
    a moment for the one before."""
    deadline = time.monotonic() + _TURN_SECONDS
    while True:
        try:
            return _record_request(call, effect, targets, by, terms)
        except ChangeInProgress:
            # The one before may be this one.
            terms.once.check(by.actor)
            if time.monotonic() >= deadline:
                raise
            time.sleep(_TURN_PAUSE_SECONDS)


def _record_request(
    call: Call,
    effect: Effect,
    targets: Sequence[Agent],
    by: Authorship,
    terms: _Terms,
) -> _Request:
    document = call.shown_document()
    lease_until = until(timedelta(seconds=terms.timeout_s) + GRACE)
    operation = Operation(
        id=by.operation_id,
        action=call.action,
        endpoint=call.endpoint.operation_id,
        query=call.shown_query(),
        body=document,
        sealed=seal(call.hidden()),
        options=dict(terms.options),
        actor_kind=by.actor.kind,
        actor_name=by.actor.name,
        actor_ref=by.actor.ref,
        source_address=by.actor.source_address,
        user_agent=by.actor.user_agent,
        on_behalf_of=by.actor.on_behalf_of,
        # Redacting can make it longer.
        reason=redact_text(by.reason)[:MAX_REASON],
        request_id=by.request_id,
        state=State.RUNNING,
        concurrency=len(targets),
        timeout_s=terms.timeout_s,
        undo_of=terms.undo_of,
        idempotency_key=terms.once.key,
        fingerprint=terms.once.fingerprint,
        lease_owner=str(this_process()),
        lease_until=lease_until,
        created_at=timezone.now(),
    )
    rows = [
        OperationTarget(operation=operation, agent=agent.name, state=State.RUNNING)
        for agent in targets
    ]
    try:
        # Durable: a call to an agent must never happen inside a transaction
        # that may still be rolled back.
        with transaction.atomic(durable=True):
            begun = [effect.begin(agent.name, by, lease_until) for agent in targets]
            insert_rows(operation, *rows)
            audit.record(
                stage=Stage.REQUESTED,
                action=operation.action,
                actor=by.actor,
                request_id=by.request_id,
                operation_id=operation.pk,
                target=f"operation:{operation.pk}" if len(targets) > 1 else "",
                agent=targets[0].name if len(targets) == 1 else "",
                engine=common_engine(targets),
                reason=by.reason,
                request={
                    "method": call.endpoint.method,
                    "path": call.endpoint.path,
                    "query": call.shown_parameters(),
                    "body": document,
                    "agents": [agent.name for agent in targets],
                },
            )
    except DatabaseError as error:
        if isinstance(error, IntegrityError):
            # Two of the same came at the same time.
            terms.once.check(by.actor)
        logger.exception("operation for request %s could not be recorded", by.request_id)
        raise NotRecorded from error
    return _Request(operation, rows, begun, call.secrets)


def _record_outcomes(
    request: _Request, outcomes: Sequence[Outcome], actor: Actor, duration_ms: float
) -> None:
    operation, rows = request.operation, request.rows
    holder = operation.lease_owner
    operation.state = joint_state(outcome.state for outcome in outcomes)
    operation.finished_at = timezone.now()
    for row, outcome in zip(rows, outcomes, strict=True):
        fill(row, outcome, request.secrets)
    try:
        with transaction.atomic(durable=True):
            # First, as everybody else does: the operation, then its agents.
            held = Operation.objects.filter(
                pk=operation.pk, lease_owner=holder, state=State.RUNNING
            )
            if not held.update(state=operation.state, finished_at=operation.finished_at):
                raise TakenOver(operation.pk)
            for begun, outcome in zip(request.begun, outcomes, strict=True):
                begun.settle(outcome.state, outcome.document)
            update_rows(*(Changed(row, OUTCOME_FIELDS) for row in rows))
            record_completed(
                operation,
                actor,
                rows,
                engine=common_engine([outcome.agent for outcome in outcomes]),
                changed=request.begun[0].changed() if len(rows) == 1 else None,
                duration_ms=duration_ms,
            )
    except DatabaseError as error:
        operation.state, operation.finished_at = State.RUNNING, None
        logger.exception("the outcome of operation %s could not be recorded", operation.pk)
        raise OutcomeNotRecorded(
            operation.pk, {outcome.agent.name: outcome.state.value for outcome in outcomes}
        ) from error
