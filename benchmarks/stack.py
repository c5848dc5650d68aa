"""An agent, the control plane in front of it, and a bare proxy beside that."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.controlplane import prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, running

AGENT_TOKEN = "benchmark"
AGENT = "bench-worker-0"


@dataclass(frozen=True)
class Stack:
    """Where everything listens, and how to get in."""

    agent_url: str
    controlplane_url: str
    proxy_url: str
    token: str
    data_directory: Path

    @property
    def agent_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {AGENT_TOKEN}"}

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def agent_process(directory: Path, port_start: int, **settings: str) -> Iterator[str]:
    """A worker in a process of its own; its URL."""
    url = f"http://127.0.0.1:{port_start + 1}"
    environment = clean_environment(
        KVPLANE_AGENT_TOKEN=AGENT_TOKEN,
        KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port_start),
        KVPLANE_SERVE_SCHEDULER="false",
        KVPLANE_WORKER_IDS="0",
        KVPLANE_WORLD_SIZE="1",
        KVPLANE_LMCACHE_INSTANCE_ID="bench",
        **settings,
    )
    with running(
        [sys.executable, "-m", "engine"], environment, directory / "agent.log", [f"{url}/health"]
    ):
        yield url


@contextmanager
def full_stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        data = directory / "data"
        port = free_ports(4)
        controlplane_url = f"http://127.0.0.1:{port + 2}"
        proxy_url = f"http://127.0.0.1:{port + 3}"
        environment = clean_environment(KVPLANE_DATA_DIR=str(data))
        token = prepare(environment, "bench", "operator")
        small = {"KVPLANE_NUM_LAYERS": "2", "KVPLANE_NUM_BLOCKS": "16"}
        with agent_process(directory, port, **small, KVPLANE_MAX_LOCAL_CPU_SIZE="0.1") as agent_url:
            register(environment, AGENT, agent_url, engine="bench", worker_id=0, token=AGENT_TOKEN)
            with (
                running(
                    serve_command(port + 2),
                    environment,
                    directory / "controlplane.log",
                    [f"{controlplane_url}/health"],
                ),
                running(
                    _serve_proxy(port + 3),
                    clean_environment(PROXIED_URL=agent_url, PROXIED_TOKEN=AGENT_TOKEN),
                    directory / "proxy.log",
                    [f"{proxy_url}/health"],
                ),
            ):
                yield Stack(agent_url, controlplane_url, proxy_url, token, data)


def _serve_proxy(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", "benchmarks.peers:proxy", "--port", str(port)),
        *("--no-access-log", "--log-level", "warning"),
    ]
