"""Why there is no snapshot.

ValueError
├── InvalidSample     the agent said something that cannot be kept
└── OvertakenSample   a later one is on record already, or the agent was removed
ContractError
├── NoStatistics      409  the agent counts no chunks
└── NotSettled        409  the agent restarted, or others sampled it, at that very moment
"""

from engine.contract import ContractError


class InvalidSample(ValueError):
    """What an agent said is not what statistics are; `field` is wrong."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"'{field}' {why}")
        self.field = field


class OvertakenSample(ValueError):
    """A later sample of the agent was recorded meanwhile, or the agent was removed. Nothing
    is lost: the later counts include these."""

    def __init__(self, agent: str) -> None:
        super().__init__(
            f"a later sample of agent '{agent}' is on record, or the agent was removed"
        )


class NoStatistics(ContractError):
    """The agent counts no chunks."""

    def __init__(self, agent: str, why: str) -> None:
        super().__init__(
            409,
            "No chunk statistics",
            f"Agent '{agent}' has no chunk statistics: {why} Name a scheduler, and set its "
            "'enable_chunk_statistics' before its lookup client is made.",
            {"agent": agent},
        )


class NotSettled(ContractError):
    """The agent restarted, or others sampled it, while it was asked."""

    def __init__(self, agent: str) -> None:
        super().__init__(
            409,
            "Sample overtaken",
            f"Agent '{agent}' restarted, or later samples of it were recorded, while it was "
            "asked; try again.",
            {"agent": agent},
        )
