"""What a command has to tell when it is through."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType

from controlplane.commandline.exits import Exit
from controlplane.fleet.models import Agent
from controlplane.forwarding import AgentAnswer, AgentFailure


@dataclass(frozen=True)
class AgentRead:
    """What came of a call that only reads, on one agent."""

    agent: Agent
    result: AgentAnswer | AgentFailure

    @property
    def said(self) -> object:
        """The answer as over the API, JSON-ready."""
        if isinstance(self.result, AgentFailure):
            return self.result.body()
        return self.result.document


@dataclass(frozen=True)
class Told:
    """`document` is JSON-ready and for scripts, `shown` the same for people. Unless all
    is well, `why` says in a line what is not. `reads` is for the audit log: what was
    read, of a documented call that only reads."""

    document: object
    shown: Sequence[RenderableType] = ()
    exit: Exit = Exit.DONE
    why: str = ""
    reads: Sequence[AgentRead] = ()
