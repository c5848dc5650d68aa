"""Taking back what an operation did to one agent."""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.audit.authorship import Authorship
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
from controlplane.operations.rolling_back import foresee_rollback, roll_back
from controlplane.operations.services import Performed, carry_out
from engine.contract import Endpoint, endpoint


def undo(begun: Begun, agent: Agent, by: Authorship, *, timeout: float) -> bool:
    """Bring the agent back to where it was before; whether it is there now. `by` names
    the operation that is taken back. Raises ContractError if that cannot be tried,
    because somebody else changed it since."""
    if isinstance(begun, BegunRevision):
        return _restore_parent(begun, agent, by, timeout)
    if isinstance(begun, BegunModeChange):
        return _turn_back(begun.change, agent, by, timeout)
    return False


@dataclass(frozen=True)
class PlannedCall:
    """A call that would be made; `document` is its body without secrets."""

    endpoint: Endpoint
    query: str = ""
    document: Mapping[str, object] | None = None


def foresee_undo(begun: Begun, agent: str) -> PlannedCall | None:
    """What undo() would send, by what is on record: nobody is asked. None: nothing, for
    there is no way back or the agent is there already."""
    if isinstance(begun, BegunModeChange):
        value = _value_before(begun.change)
        if value == begun.change.to_value:
            return None
        operation_id, query = call_for(_switch_of(begun.change), value=value)
        return PlannedCall(endpoint(operation_id), query)
    if isinstance(begun, BegunRevision) and begun.revision.diff and begun.revision.parent:
        changes = foresee_rollback(agent, begun.revision.parent).changes
        values = {key: sides["to"] for key, sides in changes.items()}
        return PlannedCall(endpoint("update_conf"), "atomic=true", values) if values else None
    return None


def _restore_parent(begun: BegunRevision, agent: Agent, by: Authorship, timeout: float) -> bool:
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
        undo_of=by.operation_id,
    )
    return _succeeded(performed)


def _turn_back(change: ModeChange, agent: Agent, by: Authorship, timeout: float) -> bool:
    value = _value_before(change)
    if value == change.to_value:
        return True
    switch = _switch_of(change)
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
        undo_of=by.operation_id,
    )
    return _succeeded(performed)


def _value_before(change: ModeChange) -> bool:
    return (not change.to_value) if change.from_value is None else change.from_value


def _switch_of(change: ModeChange) -> Switch:
    return Switch(Mode(change.mode), change.backend)


def undoing_of(operation: Operation) -> str:
    """Why an agent is brought back, unless somebody says otherwise."""
    return f"takes back operation {operation.pk}"


def _succeeded(performed: Performed) -> bool:
    return performed.operation.state == State.SUCCEEDED
