"""Taking a finished operation back, because somebody wants it."""

from dataclasses import dataclass

from controlplane.audit.actors import Actor
from controlplane.audit.authorship import Authorship
from controlplane.operations import taking_back
from controlplane.operations.calls import check_reason
from controlplane.operations.effects import is_undoable
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.undoing import undoing_of
from engine.contract import ContractError, endpoint


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
    rows = list(taking_back.standing(operation).order_by("-wave", "-id"))
    if not rows:
        raise NotToBeTakenBack(operation, "succeeded on no agent on which it still stands")
    return rows


def take_back(
    operation: Operation, *, actor: Actor, reason: str, request_id: str, timeout: float
) -> list[TakenBack]:
    """Bring each agent back to where it was before the operation, one after the other, by
    an operation of its own. `timeout` is in seconds for each call. What somebody changed
    since stays; an agent that may have done it is asked first. Raises NotToBeTakenBack,
    NotRecorded, and ContractError (400) for a reason that is too long."""
    check_reason(reason)
    rows = targets_to_take_back(operation)
    by = Authorship(actor, reason or undoing_of(operation), request_id, operation.pk)
    return [
        TakenBack(row.agent, taking_back.take_back(row, operation, by, timeout=timeout))
        for row in rows
    ]
