"""One agent pair, the control plane in front of it, and the doors to both.

Every contract test takes a `door` and runs against each: the agent itself, the
control plane under the agent's name, and the control plane's root.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.controlplane import prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, running

AGENT_TOKEN = "agent-token-for-the-contract-tests"
INSTANCE = "contract"
NUM_LAYERS = 3
NUM_SLOTS = 256
CHUNK_SIZE = 16
LOOKUP_SETTINGS = {
    "enable_chunk_statistics": True,
    "enable_async_loading": False,
    "enable_scheduler_bypass_lookup": False,
    "hit_miss_ratio": None,
}
"""What a scheduler of these tests starts with."""
DOORS = ("agent", "controlplane under the agent's name", "controlplane with a header")


@dataclass(frozen=True)
class Door:
    """A way in: a client whose base URL and headers reach one agent."""

    kind: str
    client: httpx.Client

    @property
    def is_controlplane(self) -> bool:
        return self.kind != "agent"

    def get(self, path: str, **options: object) -> httpx.Response:
        return self.client.request("GET", path, **options)

    def request(self, method: str, path: str, **options: object) -> httpx.Response:
        return self.client.request(method, path, **options)


@dataclass(frozen=True)
class Stack:
    """Where everything listens."""

    scheduler_url: str
    worker_url: str
    controlplane_url: str
    controlplane_environment: dict[str, str]
    token: str


def agent_environment(port: int) -> dict[str, str]:
    """Settings of a scheduler on that port and a worker on the next, with a cache
    too small to be slow."""
    return clean_environment(
        KVPLANE_AGENT_TOKEN=AGENT_TOKEN,
        KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port),
        KVPLANE_SERVE_SCHEDULER="true",
        KVPLANE_WORKER_IDS="0",
        KVPLANE_WORLD_SIZE="1",
        KVPLANE_NUM_LAYERS=str(NUM_LAYERS),
        KVPLANE_NUM_KV_HEADS="2",
        KVPLANE_HEAD_SIZE="8",
        KVPLANE_KV_DTYPE="float32",
        KVPLANE_BLOCK_SIZE="4",
        KVPLANE_NUM_BLOCKS=str(NUM_SLOTS // 4),
        KVPLANE_CHUNK_SIZE=str(CHUNK_SIZE),
        KVPLANE_MAX_LOCAL_CPU_SIZE="0.01",
        KVPLANE_LMCACHE_INSTANCE_ID=INSTANCE,
        KVPLANE_ENABLE_CHUNK_STATISTICS="true",
    )


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack")
    port = free_ports(3)
    scheduler_url, worker_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
    controlplane_url = f"http://127.0.0.1:{port + 2}"
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
    token = prepare(environment, "contract", "operator")
    with (
        running(
            [sys.executable, "-m", "engine"],
            agent_environment(port),
            directory / "agent.log",
            [f"{scheduler_url}/health", f"{worker_url}/health"],
        ),
        running(
            serve_command(port + 2),
            environment,
            directory / "controlplane.log",
            [f"{controlplane_url}/health"],
        ),
    ):
        for name, url, worker_id in (("scheduler", scheduler_url, None), ("worker", worker_url, 0)):
            register(
                environment, name, url, engine=INSTANCE, worker_id=worker_id, token=AGENT_TOKEN
            )
        yield Stack(scheduler_url, worker_url, controlplane_url, environment, token)


def open_door(stack: Stack, kind: str, agent: str, agent_url: str) -> httpx.Client:
    if kind == "agent":
        return httpx.Client(
            base_url=agent_url,
            headers={"Authorization": f"Bearer {AGENT_TOKEN}"},
            trust_env=False,
        )
    headers = {"Authorization": f"Bearer {stack.token}"}
    base_url = stack.controlplane_url
    if kind == "controlplane with a header":
        headers["X-KVPlane-Agent"] = agent
    else:
        base_url = f"{base_url}/agents/{agent}"
    return httpx.Client(base_url=base_url, headers=headers, trust_env=False)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Door]:
    """The worker, through each door, with modes and cache as after a start."""
    with open_door(stack, request.param, "worker", stack.worker_url) as client:
        for method, path in (
            ("PUT", "/freeze/disable"),
            ("PUT", "/hot_cache/enable"),
            ("DELETE", "/cache/clear"),
        ):
            client.request(method, path).raise_for_status()
        client.post("/conf", json={"save_unfull_chunk": False, "min_retrieve_tokens": 0})
        yield Door(request.param, client)


@pytest.fixture(params=DOORS)
def scheduler_door(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Door]:
    """The scheduler, through each door, with a lookup client as after a start."""
    with open_door(stack, request.param, "scheduler", stack.scheduler_url) as client:
        client.post("/conf", json=LOOKUP_SETTINGS).raise_for_status()
        client.post("/lookup/recreate").raise_for_status()
        yield Door(request.param, client)


@pytest.fixture(scope="session")
def data_directory() -> Path:
    return Path(__file__).resolve().parent.parent / "data"
