"""Why an operation did not go as asked."""

import uuid
from collections.abc import Mapping

from controlplane.forwarding import AgentFailure, StateAfter
from engine.contract import ContractError


class NotRecorded(ContractError):
    """The change could not be put on record, so it was not made."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "Not recorded",
            "The change could not be recorded, so no agent was called. Check the control "
            "plane's database and try again.",
            {"state": StateAfter.UNCHANGED.value},
        )


class OutcomeNotRecorded(ContractError):
    """The agents were called, but what came of it could not be put on record."""

    def __init__(self, operation_id: uuid.UUID, outcomes: Mapping[str, str]) -> None:
        super().__init__(
            503,
            "Outcome not recorded",
            f"The agents were called, but the outcome of operation {operation_id} could not "
            "be recorded; it stays 'running' until the control loop has asked the agents.",
            {"operation": str(operation_id), "outcomes": dict(outcomes)},
        )


class TakenOver(ContractError):
    """This process was held up for so long that another one has finished its work."""

    def __init__(self, operation_id: uuid.UUID) -> None:
        super().__init__(
            503,
            "Taken over",
            "The control plane was held up, and another of its processes has found out what "
            f"came of operation {operation_id}; look there.",
            {"operation": str(operation_id)},
        )


class CallBrokeDown(AgentFailure):
    """The control plane itself failed while it called the agents."""

    def __init__(self, agent: str) -> None:
        super().__init__(
            500,
            "Call broke down",
            f"The control plane failed while it called agent '{agent}'; its log has the "
            "details. Ask the agent for its state.",
            agent,
            StateAfter.UNKNOWN,
        )


class NotBegun(AgentFailure):
    """The agent was not called: what is known of it does not allow the change."""

    def __init__(self, agent: str, why: ContractError) -> None:
        super().__init__(why.status, why.error, why.message, agent, StateAfter.UNCHANGED)
        self.extra.update(why.extra)


class OperationNotFound(ContractError):
    """There is no such operation."""

    def __init__(self, operation_id: object) -> None:
        super().__init__(
            404,
            "Operation not found",
            f"There is no operation {operation_id}; GET /api/v1/operations/ lists them.",
        )


class AgentGone(ContractError):
    """The agent that was called, or was to be, is not known any more."""

    def __init__(self, agent: str) -> None:
        super().__init__(
            404,
            "Agent not found",
            f"Agent '{agent}' was removed before its outcome was known; another one of that "
            "name may have been registered since.",
        )


class OperationBrokeDown(ContractError):
    """The control plane itself failed while it carried an operation out."""

    def __init__(self, operation_id: uuid.UUID) -> None:
        super().__init__(
            500,
            "Operation broke down",
            f"The control plane failed while it carried out operation {operation_id}; its log "
            "has the details. Ask the agents for their state before you retry it.",
        )


class NotTakenBack(ContractError):
    """What an operation did to an agent stays, or may stay."""

    def __init__(self, message: str) -> None:
        super().__init__(409, "Not taken back", message)


class NotForPeople(ContractError):
    """What the control loop does, or what takes something back, nobody repeats."""

    def __init__(self, operation: object) -> None:
        super().__init__(
            409,
            "Not to be retried",
            f"{operation} put something right or took something back; the control "
            "loop tries again by itself. Make a new call instead.",
        )


class SecretsNotKept(ContractError):
    """The secrets of a call are not known any more."""

    def __init__(self, operation: object) -> None:
        super().__init__(
            409,
            "Secrets not kept",
            f"The secrets of {operation} were not kept; make the call anew.",
        )
