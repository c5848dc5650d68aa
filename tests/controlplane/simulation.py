"""Simulated agents behind the fake wire, found by the URL they are registered at."""

from controlplane.forwarding.transport import NotSent, RawAnswer, WireRequest
from tests.controlplane.wire import reply
from tests.support.simulated_agent import SimulatedAgent


class SimulatedFleet:
    """Answers for the agents in `agents`, by base URL; others cannot be reached."""

    def __init__(self) -> None:
        self.agents: dict[str, SimulatedAgent] = {}

    def __call__(self, request: WireRequest) -> RawAnswer:
        agent = self.agents.get(request.base)
        if agent is None:
            raise NotSent("Connection refused")
        status, document = agent.answer(request.method, request.target, request.body)
        return reply(document, status)
