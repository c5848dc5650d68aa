"""Why agents and engines cannot be found, chosen or changed."""

from engine.contract import Component, ContractError


class AgentNotFound(ContractError):
    """No agent of that name is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(
            404,
            "Agent not found",
            f"No agent '{name[:128]}' is registered; GET /api/v1/agents/ lists the names.",
        )


class EngineNotFound(ContractError):
    """No engine of that name has an agent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            404,
            "Engine not found",
            f"No engine '{name[:128]}' is known; GET /api/v1/engines/ lists the names.",
        )


class AgentOfAnotherEngine(ContractError):
    """An agent and an engine were named that do not belong together."""

    def __init__(self, agent: str, engine: str) -> None:
        super().__init__(
            409,
            "Agent of another engine",
            f"Agent '{agent}' does not belong to the engine '{engine[:128]}'; name one of them.",
        )


class NoDefaultAgent(ContractError):
    """Not exactly one agent has what the path needs."""

    def __init__(self, component: Component, candidates: list[str]) -> None:
        self.candidates = candidates
        what = component.value.replace("_", " ")
        super().__init__(
            409,
            "No default agent",
            f"{len(candidates)} agents have the {what} that this path needs; name one with "
            "?agent=, the X-KVPlane-Agent header or /agents/<name>/, or its engine with ?engine= "
            "or X-KVPlane-Engine."
            if candidates
            else f"No agent with the {what} that this path needs is registered and running; "
            "register one at /api/v1/agents/ or start one with an enrolment token.",
            {"candidates": candidates},
        )


class NameTaken(ContractError):
    """An enrolment tried to take over somebody else's agent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            "Agent name taken",
            f"An agent '{name}' is known, and this enrolment did not prove to be its own: the "
            "agent_token is not the stored one. Choose another name, or have an admin store "
            "the new agent_token or remove that agent.",
        )


class NotItsOwn(ContractError):
    """A departure was announced for somebody else's agent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            403,
            "Not its own",
            f"Only agent '{name}' itself says that it ends: the agent_token is not the stored "
            "one. Admins may remove it.",
        )
