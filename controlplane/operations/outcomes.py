"""What came of an operation, agent by agent and altogether."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from controlplane.audit.redaction import hide_named, redact
from controlplane.fleet.models import Agent
from controlplane.forwarding import AgentAnswer, AgentFailure, StateAfter
from controlplane.operations.models import OperationTarget, State

OUTCOME_FIELDS = ("state", "status", "answer", "error", "duration_ms")
_MAX_STORED_BYTES = 64 << 10


@dataclass(frozen=True)
class Outcome:
    """What came of the change on one agent."""

    agent: Agent
    state: State
    result: AgentAnswer | AgentFailure

    @property
    def document(self) -> object:
        """What the agent, or the control plane in its place, says."""
        if isinstance(self.result, AgentFailure):
            return self.result.body()
        return self.result.document


def outcome_of(agent: Agent, result: AgentAnswer | AgentFailure) -> Outcome:
    """The outcome that a result means."""
    return Outcome(agent, _state_of(result), result)


def fill(row: OperationTarget, outcome: Outcome, secrets: Collection[str] = ()) -> None:
    """Write the outcome into the row, redacted; `secrets` are names that are secret
    besides those that sound like it."""
    row.state = outcome.state
    result = outcome.result
    row.status = result.status
    if isinstance(result, AgentFailure):
        row.error = redact(hide_named(result.body(), secrets))
        return
    row.duration_ms = result.duration_ms
    if len(result.body) > _MAX_STORED_BYTES:
        row.answer = {"left_out": f"{len(result.body)} bytes"}
    else:
        row.answer = redact(hide_named(result.document, secrets))


def summary(rows: Sequence[OperationTarget]) -> object:
    """What the audit log keeps of the outcomes."""
    if len(rows) == 1:
        return rows[0].answer if rows[0].error is None else rows[0].error
    return {row.agent: {"state": row.state, "status": row.status} for row in rows}


def joint_state(states: Iterable[str]) -> State:
    """The state of an operation whose targets ended in these."""
    distinct = {State(state) for state in states}
    if len(distinct) == 1:
        return distinct.pop()
    if distinct & {State.SUCCEEDED, State.PARTIALLY_FAILED}:
        return State.PARTIALLY_FAILED
    return State.UNKNOWN if State.UNKNOWN in distinct else State.FAILED


def state_of_fleet(rows: Sequence[OperationTarget]) -> State:
    """The state of an operation that may have been cut short. What was taken back
    counts as failed."""
    states = [State.FAILED if row.undone else State(row.state) for row in rows]
    called = [state for state in states if state is not State.CANCELLED]
    if len(called) == len(states):
        return joint_state(states)
    if all(state is State.SUCCEEDED for state in called):
        return State.CANCELLED
    return State.PARTIALLY_FAILED if State.SUCCEEDED in called else joint_state(called)


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
