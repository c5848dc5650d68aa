"""A control plane and agents as in production, and generated clients to call them with."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.controlplane import PASSWORD, prepare, register, serve_command
from tests.support.document import operation_of
from tests.support.generated_client import make_importable
from tests.support.processes import clean_environment, free_ports, running

make_importable()

from kvplane_client import AuthenticatedClient, Client  # noqa: E402
from kvplane_client.api.tokens import create_token  # noqa: E402
from kvplane_client.api.users import create_user  # noqa: E402
from kvplane_client.models import NewTokenRequest, NewUserRequest  # noqa: E402

TOKEN = "agent-token-of-the-functional-suite"
ENGINE = "smollm2"
CHUNK = 16
TIMEOUT = 60.0
EVERY_OPERATION = "test_every_operation.py"

called: set[str] = set()
"""Ids of the operations that were called in this session."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at what the others called comes last."""
    items.sort(key=lambda item: item.path.name == EVERY_OPERATION)


def note(request: httpx.Request) -> None:
    called.add(operation_of(request.method, request.url.path).id)


async def note_async(request: httpx.Request) -> None:
    note(request)


@dataclass(frozen=True)
class Stack:
    """Where everything is."""

    url: str
    directory: Path
    admin_token: str
    ports: dict[str, int] = field(default_factory=dict)

    def client(self, token: str) -> AuthenticatedClient:
        """For calls with `sync`."""
        return self._connect(token, note)

    def async_client(self, token: str) -> AuthenticatedClient:
        """For calls with `asyncio`."""
        return self._connect(token, note_async)

    def anonymous(self) -> Client:
        return Client(
            base_url=self.url,
            httpx_args={"event_hooks": {"request": [note]}, "trust_env": False},
        )

    def _connect(self, token: str, hook: object) -> AuthenticatedClient:
        return AuthenticatedClient(
            base_url=self.url,
            token=token,
            timeout=httpx.Timeout(TIMEOUT),
            raise_on_unexpected_status=True,
            httpx_args={"event_hooks": {"request": [hook]}, "trust_env": False},
        )


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A control plane with its control loop, and one engine: a scheduler and two
    workers, which share a directory of chunks."""
    directory = tmp_path_factory.mktemp("functional")
    port = free_ports(4)
    names = {"smollm2-scheduler": port, "smollm2-worker-0": port + 1, "smollm2-worker-1": port + 2}
    url = f"http://127.0.0.1:{port + 3}"
    environment = clean_environment(
        KVPLANE_DATA_DIR=str(directory / "data"),
        KVPLANE_EMBEDDED_CONTROLLER="true",
        KVPLANE_POLL_SECONDS="1",
    )
    token = prepare(environment, "ada", "admin")
    with (
        running(
            [sys.executable, "-m", "engine"],
            _agent_environment(port, directory),
            directory / "agents.log",
            [f"http://127.0.0.1:{used}/health" for used in names.values()],
        ),
        running(
            serve_command(port + 3),
            environment,
            directory / "controlplane.log",
            [f"{url}/health"],
        ),
    ):
        for name, used in names.items():
            worker_id = None if name.endswith("scheduler") else int(name[-1])
            agent_url = f"http://127.0.0.1:{used}"
            register(environment, name, agent_url, engine=ENGINE, worker_id=worker_id, token=TOKEN)
        yield Stack(url, directory, token, names)


def _agent_environment(port: int, directory: Path) -> dict[str, str]:
    (directory / "shared").mkdir()
    keys = {
        "AGENT_TOKEN": TOKEN,
        "INTERNAL_API_SERVER_PORT_START": str(port),
        "SERVE_SCHEDULER": "true",
        "WORKER_IDS": "[0, 1]",
        "WORLD_SIZE": "2",
        "LMCACHE_INSTANCE_ID": ENGINE,
        "NUM_LAYERS": "2",
        "NUM_KV_HEADS": "1",
        "HEAD_SIZE": "8",
        "KV_DTYPE": "float32",
        "BLOCK_SIZE": "4",
        "NUM_BLOCKS": "64",
        "CHUNK_SIZE": str(CHUNK),
        "MAX_LOCAL_CPU_SIZE": "0.01",
        "REMOTE_URL": f"fs://{directory}/shared",
        "CONFIG_DIRS": str(directory),
        "ENABLE_CHUNK_STATISTICS": "true",
    }
    return clean_environment(**{f"KVPLANE_{key}": value for key, value in keys.items()})


@pytest.fixture
def admin(stack: Stack) -> Iterator[AuthenticatedClient]:
    with stack.client(stack.admin_token) as client:
        yield client


@pytest.fixture(scope="session")
def tokens(stack: Stack) -> dict[str, str]:
    """A token for each role, of a user of that role."""
    tokens = {"admin": stack.admin_token}
    with stack.client(stack.admin_token) as admin:
        for role in ("operator", "viewer"):
            person = NewUserRequest(username=f"some-{role}", password=PASSWORD, role=role)
            create_user.sync_detailed(client=admin, body=person)
            wanted = NewTokenRequest(name=f"of the {role}", role=role, user=person.username)
            issued = create_token.sync(client=admin, body=wanted)
            assert issued is not None
            tokens[role] = issued.token
    return tokens


@pytest.fixture
def operator(stack: Stack, tokens: dict[str, str]) -> Iterator[AuthenticatedClient]:
    with stack.client(tokens["operator"]) as client:
        yield client


@pytest.fixture
def viewer(stack: Stack, tokens: dict[str, str]) -> Iterator[AuthenticatedClient]:
    with stack.client(tokens["viewer"]) as client:
        yield client


@pytest.fixture
def anonymous(stack: Stack) -> Iterator[Client]:
    with stack.anonymous() as client:
        yield client
