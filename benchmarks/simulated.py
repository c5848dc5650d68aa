"""Simulated agents and a control plane that knows them, for benchmarks."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.controlplane import prepare, serve_command
from tests.support.processes import clean_environment, free_ports, manage, running

_REGISTER = """
from controlplane.audit.actors import Actor, ActorKind
from controlplane.fleet.services import AgentSpec, register_agent
from engine.contract import Role
actor = Actor(ActorKind.COMMAND, "benchmark", "command:benchmark")
for number in range({count}):
    register_agent(
        AgentSpec(f"agent-{{number:04}}", f"http://127.0.0.1:{{{port} + number}}", Role.WORKER,
                  number, "simulated"),
        actor=actor, request_id="setup",
    )
"""


@dataclass(frozen=True)
class SimulatedStack:
    """Where everything listens. `urls` has one URL for each agent."""

    urls: list[str]
    controlplane_url: str
    token: str
    environment: dict[str, str]
    directory: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def simulated_agents(count: int) -> Iterator[SimulatedStack]:
    """So many agents, registered with a control plane that is not started yet."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        port = free_ports(count + 1)
        urls = [f"http://127.0.0.1:{port + 1 + number}" for number in range(count)]
        environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
        token = prepare(environment, "bench", "operator")
        manage(environment, "shell", "-c", _REGISTER.format(count=count, port=port + 1))
        fleet = [
            *(sys.executable, "-m", "tests.support.simulated_fleet"),
            *("--port", str(port + 1), "--count", str(count)),
        ]
        with running(fleet, clean_environment(), directory / "fleet.log", [f"{urls[-1]}/health"]):
            yield SimulatedStack(urls, f"http://127.0.0.1:{port}", token, environment, directory)


@contextmanager
def controlplane(stack: SimulatedStack) -> Iterator[None]:
    """The control plane of the stack, without the control loop."""
    port = int(stack.controlplane_url.rpartition(":")[2])
    with running(
        serve_command(port),
        stack.environment,
        stack.directory / "controlplane.log",
        [f"{stack.controlplane_url}/health"],
    ):
        yield
