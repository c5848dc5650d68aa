"""Calling agents: the only code that opens a connection to one."""

from controlplane.forwarding.answers import (
    AgentAnswer,
    AgentBusy,
    AgentFailure,
    AgentTimeout,
    AgentUnreachable,
    BadAgentAnswer,
    NotCallable,
    StateAfter,
)
from controlplane.forwarding.client import AgentClient, send, send_all

__all__ = [
    "AgentAnswer",
    "AgentBusy",
    "AgentClient",
    "AgentFailure",
    "AgentTimeout",
    "AgentUnreachable",
    "BadAgentAnswer",
    "NotCallable",
    "StateAfter",
    "send",
    "send_all",
]
