"""Taking back what an operation over several agents did, or may have done, to each."""

import logging
import time

from django.db import DatabaseError
from django.db.models import QuerySet

from controlplane.audit.authorship import Authorship
from controlplane.fleet.models import Agent
from controlplane.operations import recovery
from controlplane.operations.effects import find_begun
from controlplane.operations.lease import LEASE
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.undoing import Undoing
from engine.contract import ContractError

logger = logging.getLogger(__name__)
_LOOK_S = 0.1
_MAY_HAVE_DONE_IT = (State.SUCCEEDED, State.PARTIALLY_FAILED, State.UNKNOWN)


def may_be_taken_back(row: OperationTarget) -> bool:
    """Whether the agent did it, or may have."""
    return row.state in _MAY_HAVE_DONE_IT and not row.undone


def standing(operation: Operation) -> QuerySet[OperationTarget]:
    """The parts of the operation of which may_be_taken_back() is true."""
    return operation.targets.filter(state__in=_MAY_HAVE_DONE_IT, undone=False)


def is_to_be_taken_back(row: OperationTarget) -> bool:
    """Whether the agent did it, or may have, and nobody has tried to take it back yet."""
    return may_be_taken_back(row) and not row.undo_error


def take_back(
    row: OperationTarget, operation: Operation, by: Authorship, *, timeout: float
) -> ContractError | None:
    """Bring the agent back to where it was before the operation, and write in the row
    whether it is there, or why not; that is returned too. `by` names the operation that
    is taken back, `timeout` is in seconds for each call. Raises
    django.db.DatabaseError."""
    # Somebody else may take the same back, and be ahead here.
    row.refresh_from_db()
    if row.undone:
        return None
    problem = None
    try:
        agent = recovery.find_called(operation, row.agent)
        row.undone, row.undo_error = _undo(row, agent, operation, by, timeout), ""
    except ContractError as error:
        logger.warning("%s on %s not taken back: %s", operation, row.agent, error.message)
        problem, row.undo_error = error, error.message[:500]
    _write_outcome(row)
    # Asking the agent may have told more of it.
    row.refresh_from_db()
    return None if row.undone else problem


def note_breakdown(row: OperationTarget, error: BaseException) -> None:
    """Write that taking it back on this agent broke down. Raises `error` if it was the
    database that failed, so that another process tries it again."""
    if isinstance(error, DatabaseError):
        raise error
    logger.error("taking back on agent %s broke down", row.agent, exc_info=error)
    row.undo_error = f"The control plane failed at agent '{row.agent}'; its log has the details."
    _write_outcome(row)


def _write_outcome(row: OperationTarget) -> None:
    """Write it, unless somebody else has taken it back meanwhile: that stays true."""
    open_row = OperationTarget.objects.filter(pk=row.pk, undone=False)
    open_row.update(undone=row.undone, undo_error=row.undo_error)


def _undo(
    row: OperationTarget, agent: Agent, operation: Operation, by: Authorship, timeout: float
) -> bool:
    """Whether it was taken back; there may be nothing to take back after all."""
    if row.state == State.UNKNOWN and _find_out(row, by, timeout) is State.FAILED:
        return False
    if _was_undone(row, operation, by, timeout):
        return True
    Undoing(agent, by, timeout).undo(find_begun(operation.pk, row.agent))
    return True


def _find_out(row: OperationTarget, by: Authorship, timeout: float) -> State:
    try:
        return recovery.resolve(row, by.actor, timeout=timeout)
    except ContractError:
        return State.UNKNOWN


def _was_undone(row: OperationTarget, operation: Operation, by: Authorship, timeout: float) -> bool:
    """Whether a process that had the operation before, and is gone, did it."""
    undos = Operation.objects.filter(undo_of=operation.pk, targets__agent=row.agent)
    last = undos.order_by("-id").first()
    if last is None:
        return False
    deadline = time.monotonic() + LEASE.total_seconds() + timeout
    while not State(last.state).is_final and time.monotonic() < deadline:
        if recovery.take_over(last):
            recovery.finish(last, by.actor, timeout=timeout)
        else:
            # The control loop is at it.
            time.sleep(_LOOK_S)
            last.refresh_from_db()
    return State(last.state) is State.SUCCEEDED
