"""Rolling a finished operation back, because somebody wants it: on the agents on which it
was done it is taken back."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.db import connections, transaction

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.audit.authorship import Authorship
from controlplane.fleet.models import Agent
from controlplane.operations.calls import check_reason
from controlplane.operations.effects import find_begun, is_undoable
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.undoing import undo
from engine.contract import ContractError, endpoint

logger = logging.getLogger(__name__)
ACTION = "operation.roll_back"
_DONE = (State.SUCCEEDED, State.PARTIALLY_FAILED)
_AT_ONCE = 16


class NothingToTakeBack(ContractError):
    """An operation that did nothing that can be taken back."""

    def __init__(self, operation: Operation, why: str) -> None:
        super().__init__(
            409, "Nothing to take back", f"Operation {operation.pk} cannot be taken back: {why}."
        )


def targets_to_take_back(operation: Operation) -> list[OperationTarget]:
    """Its parts that were done and not taken back. Raises NothingToTakeBack."""
    if not State(operation.state).is_final:
        raise NothingToTakeBack(operation, f"it is {operation.state}; cancel it first")
    if not is_undoable(endpoint(operation.endpoint)):
        raise NothingToTakeBack(operation, f"what was before {operation.action} is not known")
    rows = list(operation.targets.filter(state__in=_DONE, undone=False).order_by("-id"))
    if not rows:
        raise NothingToTakeBack(operation, "it was not done on any agent, or taken back already")
    return rows


def record_take_back(
    operation: Operation, *, actor: Actor, reason: str, request_id: str
) -> list[OperationTarget]:
    """Put on record that the operation is taken back, and where; nobody is called yet.
    Raises NothingToTakeBack, and ContractError (400) for a reason that is too long."""
    check_reason(reason)
    rows = targets_to_take_back(operation)
    with transaction.atomic():
        audit.record(
            action=ACTION,
            actor=actor,
            request_id=request_id,
            operation_id=operation.pk,
            target=f"operation:{operation.pk}",
            reason=reason,
            request={"action": operation.action, "agents": [row.agent for row in rows]},
            outcome="succeeded",
        )
    return rows


def take_back(
    operation: Operation, rows: Sequence[OperationTarget], *, by: Authorship
) -> dict[str, str]:
    """Undo it on these agents, each as an operation of its own; what kept it from being
    undone, by agent. Somebody who changed an agent since goes before."""
    names = [row.agent for row in rows]
    found = Agent.objects.filter(name__in=names).select_related("engine")
    known = {agent.name: agent for agent in found}
    attempt = partial(_take_back_one, operation, known, by)
    if len(rows) == 1:
        told = [attempt(rows[0])]
    else:
        with ThreadPoolExecutor(_AT_ONCE, "take-back") as threads:
            told = list(threads.map(partial(_in_thread, attempt), rows))
    return {row.agent: why for row, why in zip(rows, told, strict=True) if why}


def _in_thread(attempt: "partial[str]", row: OperationTarget) -> str:
    try:
        return attempt(row)
    finally:
        connections.close_all()


def _take_back_one(
    operation: Operation, known: dict[str, Agent], by: Authorship, row: OperationTarget
) -> str:
    """Why it could not be taken back; "" if it was."""
    agent = known.get(row.agent)
    if agent is None:
        return "the agent was removed"
    begun = find_begun(operation.pk, row.agent)
    try:
        row.undone = undo(begun, agent, operation, by, timeout=operation.timeout_s)
    except ContractError as error:
        logger.warning("%s on %s not taken back: %s", operation, agent, error.message)
        return error.message
    row.save(update_fields=["undone"])
    return "" if row.undone else "what was before could not be put back"
