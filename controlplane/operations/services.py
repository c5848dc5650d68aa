"""Performing a change: recorded, sent, recorded again.

    1  one transaction: Operation, its targets, an audit entry "requested";
       if it fails the caller gets 503 and no agent was touched
    2  no transaction open: every target is called at once
    3  one transaction: the outcomes, an audit entry "completed"
    4  on commit: one event to whoever watches

A crash between 1 and 3 leaves the operation in `running`, for the control loop
to find.
"""

import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db import DatabaseError, transaction
from django.utils import timezone

from controlplane import forwarding
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.audit.models import MAX_REASON, Stage
from controlplane.audit.redaction import redact, redact_named, redact_text
from controlplane.fleet.models import Agent
from controlplane.forwarding import AgentAnswer, AgentFailure, StateAfter
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.rows import Changed, insert_rows, update_rows
from engine.contract import ContractError, Endpoint, parse_query, read_parameters

logger = logging.getLogger(__name__)
_MAX_STORED_BYTES = 64 << 10
_OUTCOME_FIELDS = ("state", "status", "answer", "error", "duration_ms")


class NotRecorded(ContractError):
    """The change could not be put on record, so it was not made."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "Not recorded",
            "The change could not be recorded, so no agent was called. Check the control "
            "plane's database and try again.",
            {"state": StateAfter.UNCHANGED.value},
        )


class OutcomeNotRecorded(ContractError):
    """The agents were called, but what came of it could not be put on record."""

    def __init__(self, operation_id: uuid.UUID, outcomes: Sequence["Outcome"]) -> None:
        super().__init__(
            503,
            "Outcome not recorded",
            f"The agents were called, but the outcome of operation {operation_id} could not "
            "be recorded; it stays 'running'. Ask the agents for their state.",
            {
                "operation": str(operation_id),
                "outcomes": {outcome.agent.name: outcome.state.value for outcome in outcomes},
            },
        )


class CallBrokeDown(AgentFailure):
    """The control plane itself failed while it called the agents."""

    def __init__(self, agent: str) -> None:
        super().__init__(
            500,
            "Call broke down",
            f"The control plane failed while it called agent '{agent}'; its log has the "
            "details. Ask the agent for its state.",
            agent,
            StateAfter.UNKNOWN,
        )


@dataclass(frozen=True)
class Outcome:
    """What came of the change on one agent."""

    agent: Agent
    state: State
    result: AgentAnswer | AgentFailure


@dataclass(frozen=True)
class Performed:
    """A finished operation with an outcome for each target, in their order."""

    operation: Operation
    outcomes: list[Outcome]

    def answer(self) -> AgentAnswer:
        """The answer of the only target. Raises its AgentFailure, which then
        names the operation."""
        (outcome,) = self.outcomes
        if isinstance(outcome.result, AgentFailure):
            outcome.result.extra["operation"] = str(self.operation.pk)
            raise outcome.result
        return outcome.result


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
) -> Performed:
    """Make one change on all targets, each with its own timeout in seconds.

    `endpoint` is one with an `action`, `query` the raw query string, `body` the
    JSON to send. Failures of agents are outcomes, not exceptions. Raises
    NotRecorded, OutcomeNotRecorded, ContractError (400) for a query that the
    endpoint cannot read or a reason that is too long, and ValueError for an
    endpoint that only reads or for no targets.
    """
    if endpoint.action is None or not targets:
        raise ValueError("perform() takes an endpoint that changes something, and targets")
    if len(reason) > MAX_REASON:
        raise ContractError(
            400,
            "Invalid reason",
            f"The reason has {len(reason)} characters; at most {MAX_REASON} are kept.",
        )
    parameters = parse_query(query.encode())
    read_parameters(endpoint, parameters)
    operation, rows = _record_request(
        endpoint, targets, parameters, body, actor, reason, request_id
    )
    started = time.perf_counter()
    results: Sequence[AgentAnswer | AgentFailure] = [CallBrokeDown(a.name) for a in targets]
    try:
        results = forwarding.send_all(
            targets, endpoint, query=query, body=body, request_id=request_id, timeout=timeout
        )
    finally:
        # Also when an exception goes on from here: what may have been changed
        # must not look as if it were still under way.
        duration_ms = (time.perf_counter() - started) * 1000
        outcomes = [
            Outcome(agent, _state_of(result), result)
            for agent, result in zip(targets, results, strict=True)
        ]
        _record_outcomes(operation, rows, outcomes, actor, duration_ms)
    return Performed(operation, outcomes)


def _record_request(
    endpoint: Endpoint,
    targets: Sequence[Agent],
    parameters: Mapping[str, Sequence[str]],
    body: bytes | None,
    actor: Actor,
    reason: str,
    request_id: str,
) -> tuple[Operation, list[OperationTarget]]:
    document = redact(_document(body))
    shown = {name: redact_named(name, list(given)) for name, given in parameters.items()}
    operation = Operation(
        action=endpoint.action or "",
        endpoint=endpoint.operation_id,
        query=urlencode(shown, doseq=True, safe="*,:/[]"),
        body=document,
        actor_kind=actor.kind,
        actor_name=actor.name,
        actor_ref=actor.ref,
        source_address=actor.source_address,
        # Redacting can make it longer.
        reason=redact_text(reason)[:MAX_REASON],
        request_id=request_id,
        state=State.RUNNING,
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
            insert_rows(operation, *rows)
            audit.record(
                stage=Stage.REQUESTED,
                action=operation.action,
                actor=actor,
                request_id=request_id,
                operation_id=operation.pk,
                agent=targets[0].name if len(targets) == 1 else "",
                reason=reason,
                request={
                    "method": endpoint.method,
                    "path": endpoint.path,
                    "query": shown,
                    "body": document,
                    "agents": [agent.name for agent in targets],
                },
            )
    except DatabaseError as error:
        logger.exception("operation for request %s could not be recorded", request_id)
        raise NotRecorded from error
    return operation, rows


def _record_outcomes(
    operation: Operation,
    rows: Sequence[OperationTarget],
    outcomes: Sequence[Outcome],
    actor: Actor,
    duration_ms: float,
) -> None:
    operation.state = _joint_state([outcome.state for outcome in outcomes])
    operation.finished_at = timezone.now()
    for row, outcome in zip(rows, outcomes, strict=True):
        _fill(row, outcome)
    try:
        with transaction.atomic(durable=True):
            update_rows(
                Changed(operation, ("state", "finished_at")),
                *(Changed(row, _OUTCOME_FIELDS) for row in rows),
            )
            audit.record(
                stage=Stage.COMPLETED,
                action=operation.action,
                actor=actor,
                request_id=operation.request_id,
                operation_id=operation.pk,
                agent=rows[0].agent if len(rows) == 1 else "",
                reason=operation.reason,
                answer=_summary(rows),
                outcome=operation.state,
                status=rows[0].status if len(rows) == 1 else None,
                duration_ms=duration_ms,
            )
    except DatabaseError as error:
        operation.state, operation.finished_at = State.RUNNING, None
        logger.exception("the outcome of operation %s could not be recorded", operation.pk)
        raise OutcomeNotRecorded(operation.pk, outcomes) from error


def _fill(row: OperationTarget, outcome: Outcome) -> None:
    row.state = outcome.state
    result = outcome.result
    row.status = result.status
    if isinstance(result, AgentFailure):
        row.error = redact(result.body())
        return
    row.duration_ms = result.duration_ms
    if len(result.body) > _MAX_STORED_BYTES:
        row.answer = {"left_out": f"{len(result.body)} bytes"}
    else:
        row.answer = redact(result.document)


def _summary(rows: Sequence[OperationTarget]) -> object:
    if len(rows) == 1:
        return rows[0].answer if rows[0].error is None else rows[0].error
    return {row.agent: {"state": row.state, "status": row.status} for row in rows}


def _state_of(result: AgentAnswer | AgentFailure) -> State:
    if isinstance(result, AgentFailure):
        return State.FAILED if result.state is StateAfter.UNCHANGED else State.UNKNOWN
    if result.status < 400:
        return State.SUCCEEDED
    if isinstance(result.document, dict) and result.document.get("updated"):
        return State.PARTIALLY_FAILED
    # An agent that broke down half way may have changed something; one that
    # says that it cannot (501, 503) has not.
    return State.FAILED if result.status < 500 or result.status in (501, 503) else State.UNKNOWN


def _joint_state(states: Sequence[State]) -> State:
    distinct = set(states)
    if len(distinct) == 1:
        return states[0]
    if distinct & {State.SUCCEEDED, State.PARTIALLY_FAILED}:
        return State.PARTIALLY_FAILED
    return State.UNKNOWN


def _document(body: bytes | None) -> object:
    if body is None:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return {"left_out": f"{len(body)} bytes that are not JSON"}

