"""Taking back what an operation did to one agent."""

from controlplane.audit.authorship import Authorship
from controlplane.audit.limits import MAX_REASON
from controlplane.fleet.models import Agent
from controlplane.modes.models import Mode, ModeChange, ModeSource
from controlplane.modes.services import Switch, Wish
from controlplane.operations.calls import read_call
from controlplane.operations.effects import (
    Begun,
    BegunModeChange,
    BegunRevision,
    ReplaceMode,
    call_for,
)
from controlplane.operations.models import Operation, State
from controlplane.operations.rolling_back import roll_back
from controlplane.operations.services import Performed, carry_out
from engine.contract import endpoint


def undo(
    begun: Begun, agent: Agent, operation: Operation, by: Authorship, *, timeout: float
) -> bool:
    """Bring the agent back to where it was before; whether it is there now. Raises
    ContractError if that cannot be tried, because somebody else changed it since."""
    if isinstance(begun, BegunRevision):
        return _restore_parent(begun, agent, operation, by, timeout)
    if isinstance(begun, BegunModeChange):
        return _turn_back(begun.change, agent, operation, by, timeout)
    return False


def _restore_parent(
    begun: BegunRevision, agent: Agent, operation: Operation, by: Authorship, timeout: float
) -> bool:
    revision = begun.revision
    if not revision.diff:
        return True
    if revision.parent is None:
        return False
    performed = roll_back(
        agent,
        revision.parent,
        expected=revision.number,
        actor=by.actor,
        reason=by.reason,
        request_id=by.request_id,
        timeout=timeout,
        undo_of=operation.pk,
    )
    return _succeeded(performed)


def _turn_back(
    change: ModeChange, agent: Agent, operation: Operation, by: Authorship, timeout: float
) -> bool:
    before = change.from_value
    if before == change.to_value:
        return True
    value = (not change.to_value) if before is None else before
    switch = Switch(Mode(change.mode), change.backend)
    operation_id, query = call_for(switch, value=value)
    performed = carry_out(
        read_call(endpoint(operation_id), query, None),
        # Only if nobody wished anything else since.
        ReplaceMode(Wish(switch, value, source=ModeSource.ROLLBACK), change.pk),
        [agent],
        actor=by.actor,
        reason=by.reason,
        request_id=by.request_id,
        timeout=timeout,
        undo_of=operation.pk,
    )
    return _succeeded(performed)


def reason_of_undoing(operation: Operation, reason: str = "") -> str:
    """What stands on the record of each agent; with the reason that somebody gave."""
    told = f"takes back operation {operation.pk}"
    return f"{told}: {reason}"[:MAX_REASON] if reason else told


def _succeeded(performed: Performed) -> bool:
    return performed.operation.state == State.SUCCEEDED
