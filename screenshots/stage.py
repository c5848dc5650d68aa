"""The processes that the pictures are of: a control plane, and the agents of two engines."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.controlplane import prepare, serve_command
from tests.support.processes import clean_environment, free_ports, running

ADMIN = "anna"
ENGINES = ("chat", "code")
_AGENT_TOKEN = "agent-token-of-the-screenshots"
_PORTS_OF_ONE = 3
_SHAPES: Mapping[str, Mapping[str, str]] = {
    "chat": {
        "MODEL_NAME": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "NUM_LAYERS": "30",
        "NUM_KV_HEADS": "3",
        "MAX_LOCAL_CPU_SIZE": "0.25",
    },
    "code": {
        "MODEL_NAME": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "NUM_LAYERS": "24",
        "NUM_KV_HEADS": "2",
        "MAX_LOCAL_CPU_SIZE": "0.125",
    },
}


@dataclass
class Stage:
    """A control plane that serves, and what it takes to add agents to it. `close()` of
    `opened` ends all of it."""

    url: str
    directory: Path
    admin_token: str = field(repr=False)
    first_port: int
    opened: ExitStack = field(repr=False)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Of each agent; agents of one process share it."""

    def agent_url(self, name: str) -> str:
        """Where an agent of ENGINES listens, by its name, such as `chat-worker-0`."""
        engine, _, rest = name.partition("-")
        place = 0 if rest == "scheduler" else 1 + int(rest.rpartition("-")[2])
        return f"http://127.0.0.1:{self._port_of(engine) + place}"

    def start_agents(self, enrolment_token: str) -> None:
        """Start both engines, which register themselves. The second worker of `code` is a
        process of its own, so that it can crash alone."""
        both = {"SERVE_SCHEDULER": "true", "WORKER_IDS": "[0, 1]"}
        first = {"SERVE_SCHEDULER": "true", "WORKER_IDS": "[0]"}
        second = {"SERVE_SCHEDULER": "false", "WORKER_IDS": "[1]"}
        self._start("chat", both, enrolment_token, ("scheduler", "worker-0", "worker-1"))
        self._start("code", first, enrolment_token, ("scheduler", "worker-0"))
        self._start("code", second, enrolment_token, ("worker-1",))

    def crash(self, agent: str) -> None:
        """End the process of the agent without its doing: it tells nobody."""
        process = self.processes[agent]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def agent(self, name: str) -> httpx.Client:
        """A client that calls the agent past the control plane, as vLLM and strangers do."""
        headers = {"Authorization": f"Bearer {_AGENT_TOKEN}"}
        return httpx.Client(
            base_url=self.agent_url(name), headers=headers, trust_env=False, timeout=60
        )

    def client(self, token: str) -> httpx.Client:
        """A client of the control plane with that token."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60)

    def _port_of(self, engine: str) -> int:
        return self.first_port + 1 + _PORTS_OF_ONE * ENGINES.index(engine)

    def _start(
        self, engine: str, serves: Mapping[str, str], token: str, names: tuple[str, ...]
    ) -> None:
        settings = {
            **_SHAPES[engine],
            **serves,
            "WORLD_SIZE": "2",
            "NUM_BLOCKS": "256",
            "LMCACHE_INSTANCE_ID": engine,
            "INTERNAL_API_SERVER_PORT_START": str(self._port_of(engine)),
            "CONTROLPLANE_URL": self.url,
            "ENROLMENT_TOKEN": token,
            "AGENT_TOKEN": _AGENT_TOKEN,
            "REMOTE_URL": f"fs://{self.directory}/shared",
            "REMOTE_SERDE": "zstd",
            "LOCAL_DISK": str(self.directory / f"{engine}-{names[-1]}"),
            "MAX_LOCAL_DISK_SIZE": "0.5",
        }
        process = self.opened.enter_context(
            running(
                [sys.executable, "-m", "engine"],
                clean_environment(**{f"KVPLANE_{key}": value for key, value in settings.items()}),
                self.directory / f"{engine}-{names[-1]}.log",
                [f"{self.agent_url(f'{engine}-{name}')}/health" for name in names],
            )
        )
        self.processes |= {f"{engine}-{name}": process for name in names}


@contextmanager
def open_stage(directory: Path) -> Iterator[Stage]:
    """A control plane without agents yet; everything that was started ends with it."""
    port = free_ports(1 + _PORTS_OF_ONE * len(ENGINES))
    url = f"http://127.0.0.1:{port}"
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EMBEDDED_CONTROLLER="true",
        KVPLANE_POLL_SECONDS="2",
        KVPLANE_CONTROLLER_LEASE_SECONDS="10",
        KVPLANE_STATISTICS_SECONDS="10",
    )
    token = prepare(environment, ADMIN, "admin")
    with ExitStack() as opened:
        log = directory / "controlplane.log"
        opened.enter_context(running(serve_command(port), environment, log, [f"{url}/health"]))
        yield Stage(url, directory, token, port, opened)
