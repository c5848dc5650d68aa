"""Finishing what a crash, or a silent agent, left open."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import connections, transaction
from django.utils import timezone

from controlplane.audit.actors import Actor
from controlplane.configuration import services as configuration
from controlplane.fleet.models import Agent
from controlplane.operations.effects import Begun, find_begun
from controlplane.operations.errors import AgentGone
from controlplane.operations.lease import LEASE, is_abandoned, this_process, until
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.outcomes import state_of_fleet
from controlplane.operations.recording import common_engine, record_completed, record_part
from controlplane.operations.truth import find_out
from engine.contract import ContractError

logger = logging.getLogger(__name__)
_QUESTIONS_AT_ONCE = 32
_UNFINISHED = (State.PENDING, State.RUNNING)


def abandoned() -> Iterator[Operation]:
    """Operations that nobody works on any more and that are not finished."""
    for operation in Operation.objects.filter(state__in=_UNFINISHED).order_by("id"):
        if is_abandoned(operation.lease_owner, operation.lease_until):
            yield operation


def take_over(operation: Operation) -> bool:
    """Whether this process may finish it: nobody else was faster."""
    taken = Operation.objects.filter(
        pk=operation.pk,
        state__in=_UNFINISHED,
        lease_owner=operation.lease_owner,
        lease_until=operation.lease_until,
    ).update(lease_owner=str(this_process()), lease_until=until(LEASE))
    operation.refresh_from_db()
    return bool(taken)


def finish(operation: Operation, actor: Actor, *, timeout: float) -> None:
    """Write a true outcome for each agent that was, or was to be, called: what its
    state tells, and `unknown` where that does not tell or it does not answer.
    `timeout` is in seconds for each question."""
    settle_rows(operation, list(operation.targets.filter(state__in=_UNFINISHED)), timeout=timeout)
    with transaction.atomic(durable=True):
        close(operation, actor)
    logger.warning("operation %s was left open; it is %s", operation.pk, operation.state)


def find_called(operation: Operation, name: str) -> Agent:
    """The agent of that name that the operation called, or was to call. Raises AgentGone
    if it was removed, whoever has its name now."""
    found = Agent.objects.select_related("engine").filter(name=name).first()
    if found is None or found.registered_at > operation.created_at:
        raise AgentGone(name)
    return found


def settle_rows(operation: Operation, rows: Sequence[OperationTarget], *, timeout: float) -> None:
    """Ask the agents that were called, all at once, and write what is true of each."""
    if not rows:
        return
    with ThreadPoolExecutor(min(len(rows), _QUESTIONS_AT_ONCE), "recovery") as threads:
        found = list(threads.map(lambda row: _ask(operation, row, timeout), rows))
    with transaction.atomic(durable=True):
        configuration.lock([row.agent for row in rows])
        for row, (begun, state, document) in zip(rows, found, strict=True):
            settle(row, begun, state, document)


def resolve(row: OperationTarget, actor: Actor, *, timeout: float) -> State:
    """Ask again about an outcome that is unknown, and keep what is learnt; the state as
    it is then. Raises ContractError."""
    operation = row.operation
    begun = find_begun(operation.pk, row.agent)
    agent = find_called(operation, row.agent)
    state, document = find_out(begun, agent, request_id=operation.request_id, timeout=timeout)
    if state is State.UNKNOWN:
        return state
    with transaction.atomic(durable=True):
        # In the order of whoever carries it out: the operation, then the agent.
        operation = Operation.objects.select_for_update().get(pk=operation.pk)
        configuration.lock([row.agent])
        row = OperationTarget.objects.get(pk=row.pk)
        if row.state != State.UNKNOWN:
            return State(row.state)
        settle(row, begun, state, document)
        if State(operation.state).is_final:
            close(operation, actor)
        else:
            # Whoever carries it out goes on, and closes it.
            record_part(operation, actor, row, engine=agent.engine.name, changed=begun.changed())
    return state


def settle(row: OperationTarget, begun: Begun, state: State, document: object) -> None:
    """Write the outcome of one agent, in the caller's transaction."""
    begun.settle(state, document)
    row.state = state
    if state in (State.SUCCEEDED, State.PARTIALLY_FAILED):
        row.answer, row.error = document, None
    else:
        row.error = document
    row.save(update_fields=["state", "answer", "error"])


def close(operation: Operation, actor: Actor) -> None:
    """Write the state of the whole operation and the completing audit entry, in the
    caller's transaction."""
    rows = list(operation.targets.all())
    operation.state = state_of_fleet(rows)
    operation.finished_at = timezone.now()
    operation.save(update_fields=["state", "finished_at"])
    agents = Agent.objects.filter(name__in=[row.agent for row in rows]).select_related("engine")
    record_completed(
        operation,
        actor,
        rows,
        engine=common_engine(agents),
        changed=find_begun(operation.pk, rows[0].agent).changed() if len(rows) == 1 else None,
        duration_ms=None,
    )


def _ask(operation: Operation, row: OperationTarget, timeout: float) -> tuple[Begun, State, object]:
    try:
        return _outcome(operation, row, timeout)
    finally:
        connections.close_all()


def _outcome(
    operation: Operation, row: OperationTarget, timeout: float
) -> tuple[Begun, State, object]:
    begun = find_begun(operation.pk, row.agent)
    try:
        agent = find_called(operation, row.agent)
        state, document = find_out(begun, agent, request_id=operation.request_id, timeout=timeout)
    except ContractError as error:
        return begun, State.UNKNOWN, error.body()
    return begun, state, document
