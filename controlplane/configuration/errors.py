"""Why a configuration cannot be changed.

ContractError
├── RevisionNotFound     404
├── RevisionConflict     409  the writer did not know the latest revision
├── ChangeInProgress     409  another change of the same agent has no answer yet
├── NothingToRestore     409  a rollback that would change nothing
└── NotRestorable        400  the agent's schema does not take the old values
"""

from collections.abc import Mapping

from engine.contract import ContractError


class RevisionNotFound(ContractError):
    """The agent has no revision of that number, or none at all."""

    def __init__(self, agent: str, which: str) -> None:
        super().__init__(
            404,
            "Revision not found",
            f"Agent '{agent}' has no {which}; GET /api/v1/config-revisions/?agent={agent} lists "
            "what there is.",
        )


class RevisionConflict(ContractError):
    """Somebody changed the configuration since the writer looked."""

    def __init__(
        self, agent: str, expected: int, active: int, diff: Mapping[str, Mapping[str, object]]
    ) -> None:
        super().__init__(
            409,
            "Revision conflict",
            f"Agent '{agent}' is at revision {active}, not {expected}; look at the diff and send "
            f"the change again with expected_revision={active}.",
            {"agent": agent, "expected": expected, "active": active, "diff": dict(diff)},
        )


class ChangeInProgress(ContractError):
    """Another change of this agent's configuration has no answer yet."""

    def __init__(self, agent: str, number: int, operation: str) -> None:
        super().__init__(
            409,
            "Change in progress",
            f"Revision {number} of agent '{agent}' is on its way; try again when its operation "
            "has finished.",
            {"agent": agent, "revision": number, "operation": operation},
        )


class NothingToRestore(ContractError):
    """A rollback to the values that are active already."""

    def __init__(self, agent: str, number: int) -> None:
        super().__init__(
            409,
            "Nothing to restore",
            f"Every key of agent '{agent}' that can be changed has the value of revision "
            f"{number} already.",
        )


class NotRestorable(ContractError):
    """The agent would refuse values of an old revision."""

    def __init__(self, agent: str, number: int, problems: Mapping[str, str]) -> None:
        named = "; ".join(f"{key}: {why}" for key, why in problems.items())
        super().__init__(
            400,
            "Not restorable",
            f"Revision {number} does not fit agent '{agent}' any more ({named}); change the keys "
            "that do with POST /conf.",
            {"agent": agent, "errors": dict(problems)},
        )
