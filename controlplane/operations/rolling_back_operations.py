"""Taking a finished operation back, because somebody wants it."""

import logging
import uuid
from dataclasses import dataclass

from controlplane.audit.actors import Actor
from controlplane.audit.authorship import Authorship
from controlplane.fleet.models import Agent
from controlplane.fleet.services import AgentNotFound
from controlplane.operations.calls import check_reason
from controlplane.operations.effects import find_begun, is_undoable
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.undoing import Undoing, undoing_of
from engine.contract import ContractError, endpoint

logger = logging.getLogger(__name__)
_DONE = (State.SUCCEEDED, State.PARTIALLY_FAILED)


class NotToBeTakenBack(ContractError):
    """An operation that did nothing which could be taken back."""

    def __init__(self, operation: Operation, why: str) -> None:
        super().__init__(
            409,
            "Not to be taken back",
            f"Operation {operation.pk} {why}.",
            {"operation": str(operation.pk)},
        )


@dataclass(frozen=True)
class TakenBack:
    """What came of it on one agent; `error` is None if it is where it was before."""

    agent: str
    error: ContractError | None


def targets_to_take_back(operation: Operation) -> list[OperationTarget]:
    """The parts that would be taken back, in the order in which it is done: the last one
    first. Raises NotToBeTakenBack."""
    if not State(operation.state).is_final:
        raise NotToBeTakenBack(operation, f"is {operation.state}; cancel it, or wait for its end")
    if not is_undoable(endpoint(operation.endpoint)):
        raise NotToBeTakenBack(operation, f"is a {operation.action}, which leaves nothing to undo")
    if operation.undo_of is not None:
        raise NotToBeTakenBack(operation, "took something back itself; make a new call instead")
    rows = operation.targets.filter(state__in=_DONE, undone=False).order_by("-wave", "-id")
    if not rows:
        raise NotToBeTakenBack(operation, "succeeded on no agent on which it still stands")
    return list(rows)


def take_back(
    operation: Operation, *, actor: Actor, reason: str, request_id: str, timeout: float
) -> list[TakenBack]:
    """Bring each agent back to where it was before the operation, one after the other, by
    an operation of its own. `timeout` is in seconds for each call. What somebody changed
    since stays. Raises NotToBeTakenBack, NotRecorded, and ContractError (400) for a
    reason that is too long."""
    check_reason(reason)
    rows = targets_to_take_back(operation)
    by = Authorship(actor, reason or undoing_of(operation), request_id, operation.pk)
    return [_take_back(operation.pk, row, by, timeout) for row in rows]


def _take_back(
    operation_id: uuid.UUID, row: OperationTarget, by: Authorship, timeout: float
) -> TakenBack:
    try:
        agent = Agent.objects.select_related("engine").filter(name=row.agent).first()
        if agent is None:
            raise AgentNotFound(row.agent)
        Undoing(agent, by, timeout).undo(find_begun(operation_id, row.agent))
    except ContractError as error:
        logger.warning("operation %s on %s not taken back: %s", operation_id, row, error.message)
        return TakenBack(row.agent, error)
    row.undone = True
    row.save(update_fields=["undone"])
    return TakenBack(row.agent, None)
