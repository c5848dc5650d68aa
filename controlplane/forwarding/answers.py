"""What comes back from an agent, or why nothing does.

ContractError
└── AgentFailure
    ├── AgentUnreachable  502  no connection, so nothing was changed
    ├── BadAgentAnswer    502  something came back that is no answer
    ├── AgentTimeout      504  nothing came back in time
    ├── AgentBusy         503  too many calls to it are under way already
    └── NotCallable       501, 503  the call cannot be made at all
"""

from dataclasses import dataclass, field
from enum import StrEnum

from engine.contract import ContractError, Endpoint, parse_query, read_parameters


class StateAfter(StrEnum):
    """What is known about an agent's state after a failed call."""

    UNCHANGED = "unchanged"
    UNKNOWN = "unknown"


def state_after(endpoint: Endpoint, query: str) -> StateAfter:
    """What is known after a call, with that query string, that an agent may have
    received. Raises ContractError for a query that the endpoint does not take."""
    values = read_parameters(endpoint, parse_query(query.encode()))
    return StateAfter.UNKNOWN if endpoint.changes(values) else StateAfter.UNCHANGED


@dataclass(frozen=True)
class AgentAnswer:
    """An agent's answer, as the contract has it.

    `document` is what `body` holds: the decoded JSON, or the text of a
    text/plain answer. `duration_ms` runs from sending to the last byte. `date` is the
    Date header, by the agent's clock, "" without one.
    """

    status: int
    media_type: str
    body: bytes = field(repr=False)
    duration_ms: float
    document: object = field(compare=False)
    date: str = ""


class AgentFailure(ContractError):
    """An agent gave no answer that can be passed on."""

    def __init__(
        self, status: int, error: str, message: str, agent: str, state: StateAfter
    ) -> None:
        super().__init__(status, error, message, {"agent": agent, "state": state.value})
        self.agent = agent
        self.state = state


class AgentUnreachable(AgentFailure):
    """No connection to the agent could be made."""

    def __init__(self, agent: str, why: str) -> None:
        super().__init__(
            502,
            "Agent unreachable",
            f"Cannot connect to agent '{agent}': {why}. Check that it runs and that its "
            "registered URL is right.",
            agent,
            StateAfter.UNCHANGED,
        )


class AgentBusy(AgentFailure):
    """The call was not sent: too many to this agent are under way."""

    def __init__(self, agent: str, calls: int) -> None:
        super().__init__(
            503,
            "Agent busy",
            f"{calls} calls to agent '{agent}' are under way already; try again when they "
            "are answered.",
            agent,
            StateAfter.UNCHANGED,
        )


class AgentTimeout(AgentFailure):
    """The agent did not answer in time."""

    def __init__(self, agent: str, timeout: float, state: StateAfter) -> None:
        super().__init__(
            504,
            "Agent timeout",
            f"Agent '{agent}' did not answer within {timeout:g} s; ask it for its state "
            "before trying again.",
            agent,
            state,
        )


class BadAgentAnswer(AgentFailure):
    """What came back is not an answer of the contract."""

    def __init__(self, agent: str, why: str, state: StateAfter) -> None:
        super().__init__(
            502,
            "Bad agent answer",
            f"Agent '{agent}' gave no usable answer: {why}. Check that its registered URL "
            "and dialect are right.",
            agent,
            state,
        )


class NotCallable(AgentFailure):
    """The call was not sent: the agent's dialect lacks it (501), or its token
    cannot be read (503)."""

    def __init__(self, status: int, error: str, message: str, agent: str) -> None:
        super().__init__(status, error, message, agent, StateAfter.UNCHANGED)
