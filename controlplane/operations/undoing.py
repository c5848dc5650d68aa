"""Bringing one agent back to where it was before an operation."""

import json
from dataclasses import dataclass

from controlplane.audit.authorship import Authorship
from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.configuration.values import shows_secret
from controlplane.fleet.models import Agent, Dialect
from controlplane.modes import services as modes
from controlplane.modes.models import ModeChange, ModeChangeState
from controlplane.operations.calls import Call, read_call
from controlplane.operations.effects import (
    Begun,
    BegunModeChange,
    BegunRevision,
    Effect,
    ReplaceMode,
    call_for,
)
from controlplane.operations.errors import NotTakenBack
from controlplane.operations.models import Operation
from controlplane.operations.rolling_back import roll_back
from controlplane.operations.services import Performed, carry_out
from controlplane.operations.withdrawing import WithdrawMode, WithdrawRevision
from engine.contract import endpoint


@dataclass(frozen=True)
class Undoing:
    """The agent that is brought back, and by whom; `by` names the operation that is
    taken back there. `timeout` is in seconds, for each call."""

    agent: Agent
    by: Authorship
    timeout: float

    def undo(self, begun: Begun) -> None:
        """Bring the agent back to where it was before, also if nobody knows whether it
        ever left. Raises NotTakenBack, and other ContractErrors if it cannot be tried,
        because somebody else changed it since for example."""
        if isinstance(begun, BegunRevision):
            if begun.revision.state == RevisionState.UNKNOWN:
                self._put_values_back(begun.revision)
            else:
                self._restore_parent(begun.revision)
        elif isinstance(begun, BegunModeChange):
            self._turn_back(begun.change)
        else:
            raise NotTakenBack(f"Nothing is known of what agent '{self.agent.name}' was before.")

    def _restore_parent(self, revision: ConfigRevision) -> None:
        if not revision.diff:
            return
        performed = roll_back(
            self.agent,
            self._parent_of(revision),
            expected=revision.number,
            actor=self.by.actor,
            reason=self.by.reason,
            request_id=self.by.request_id,
            timeout=self.timeout,
            undo_of=self.by.operation_id,
        )
        self._check(performed)

    def _put_values_back(self, revision: ConfigRevision) -> None:
        """Send the old values of all that was asked for; which of it was done, if
        anything, nobody knows."""
        parent = configuration.find_revision(self.agent.name, self._parent_of(revision))
        before = configuration.real_values(parent)
        values = {
            key: before[key]
            for key in revision.requested
            if key in before and not shows_secret(before[key])
        }
        if values:
            atomic = "" if self.agent.dialect == Dialect.LMCACHE else "atomic=true"
            call = read_call(endpoint("update_conf"), atomic, json.dumps(values).encode())
            self._check(self._carry_out(call, WithdrawRevision(revision)))
        if left := sorted(revision.requested.keys() - values.keys()):
            raise NotTakenBack(
                f"What agent '{self.agent.name}' had before is not known for {', '.join(left)}."
            )

    def _turn_back(self, change: ModeChange) -> None:
        wish = modes.wish_before(change)
        is_applied = change.state == ModeChangeState.APPLIED
        if is_applied and modes.is_desired(self.agent.name, wish):
            return
        operation_id, query = call_for(wish.switch, value=wish.value)
        # Either way only if nobody wished anything else since.
        effect = ReplaceMode(wish, change.pk) if is_applied else WithdrawMode(wish, change)
        call = read_call(endpoint(operation_id), query, None)
        self._check(self._carry_out(call, effect))

    def _carry_out(self, call: Call, effect: Effect) -> Performed:
        return carry_out(
            call,
            effect,
            [self.agent],
            actor=self.by.actor,
            reason=self.by.reason,
            request_id=self.by.request_id,
            timeout=self.timeout,
            undo_of=self.by.operation_id,
        )

    def _parent_of(self, revision: ConfigRevision) -> int:
        if revision.parent is None:
            raise NotTakenBack(f"What agent '{self.agent.name}' had before is not known.")
        return revision.parent

    def _check(self, performed: Performed) -> None:
        if problems := performed.problems():
            raise NotTakenBack(f"Agent '{self.agent.name}': {'; '.join(problems)}")


def undoing_of(operation: Operation) -> str:
    """Why an agent is brought back, unless somebody says otherwise."""
    return f"takes back operation {operation.pk}"
