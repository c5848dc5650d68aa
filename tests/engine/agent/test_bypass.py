"""`/bypass/*` on an agent with three tiers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.agent.agent import Agent
from tests.engine.agent.conftest import MakeAgent

BACKENDS = ["LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"]


@pytest.fixture
def agent(make_worker: MakeAgent, tmp_path: Path) -> Iterator[Agent]:
    agent = make_worker(
        local_disk=str(tmp_path / "disk"),
        max_local_disk_size=0.01,
        remote_url=f"fs://{tmp_path}/shared",
    )
    yield agent
    agent.cache.close()


def retrieved(client: TestClient) -> int:
    return client.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"]


def chunks(client: TestClient) -> dict[str, int]:
    storage = client.get("/agent/status").json()["storage"]
    return {name: tier["chunks"] for name, tier in storage.items()}


def test_list__at_start__nothing_is_bypassed(client: TestClient) -> None:
    assert client.get("/bypass/list").json() == {
        "status": "success",
        "bypassed_backends": [],
        "all_backends": BACKENDS,
    }


def test_add_and_remove__twice_each__say_what_was(client: TestClient) -> None:
    added = [client.put("/bypass/add?backend_name=RemoteBackend").json() for _ in "ab"]
    assert added == [
        {
            "status": "success",
            "backend_name": "RemoteBackend",
            "bypassed": True,
            "was_already_bypassed": before,
            "bypassed_backends": ["RemoteBackend"],
        }
        for before in (False, True)
    ]
    assert client.get("/agent/status").json()["bypassed_backends"] == ["RemoteBackend"]
    removed = [client.put("/bypass/remove?backend_name=RemoteBackend").json() for _ in "ab"]
    assert removed == [
        {
            "status": "success",
            "backend_name": "RemoteBackend",
            "bypassed": False,
            "was_bypassed": before,
            "bypassed_backends": [],
        }
        for before in (True, False)
    ]


def test_list__several__in_the_order_in_which_they_are_read(client: TestClient) -> None:
    for name in reversed(BACKENDS):
        client.put(f"/bypass/add?backend_name={name}")
    assert client.get("/bypass/list").json()["bypassed_backends"] == BACKENDS


@pytest.mark.parametrize("path", ["/bypass/add", "/bypass/remove"])
def test_bypass__unknown_backend__is_refused_naming_those_there_are(
    client: TestClient, path: str
) -> None:
    answer = client.put(f"{path}?backend_name=FooBackend")
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "Unknown backend",
        "message": f"Backend 'FooBackend' not found. Available: {BACKENDS}",
    }


@pytest.mark.parametrize("path", ["/bypass/add", "/bypass/remove"])
@pytest.mark.parametrize("query", ["", "?backend_name=", "?backend_name=%20"])
def test_bypass__no_name__is_refused(client: TestClient, path: str, query: str) -> None:
    answer = client.put(f"{path}{query}")
    assert answer.status_code == 400
    assert "backend_name" in answer.json()["message"]


def test_bypass__all_tiers__nothing_is_stored_or_read(client: TestClient) -> None:
    for name in BACKENDS:
        client.put(f"/bypass/add?backend_name={name}")
    stored = client.post("/cache/store?tokens_mock=0,32").json()
    assert stored["num_stored"] == 0
    assert retrieved(client) == 0
    assert chunks(client) == dict.fromkeys(BACKENDS, 0)


def test_clear__bypassed_backend__is_skipped_unless_it_is_named(
    client: TestClient, agent: Agent
) -> None:
    client.post("/cache/store?tokens_mock=0,32")
    assert agent.cache.storage.flush(30)
    client.put("/bypass/add?backend_name=LocalDiskBackend")
    cleared = client.delete("/cache/clear").json()
    assert cleared == {
        "status": "success",
        "num_removed": 4,
        "removed": {"LocalCPUBackend": 2, "RemoteBackend": 2},
    }
    cleared = client.delete("/cache/clear?locations=LocalDiskBackend").json()
    assert cleared["removed"] == {"LocalDiskBackend": 2}


def test_bypass__scheduler__has_no_backends(scheduler: TestClient) -> None:
    answer = scheduler.get("/bypass/list")
    assert answer.status_code == 503
    assert answer.json()["error"] == "/bypass/list API is unavailable"
