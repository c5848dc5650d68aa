"""The endpoints that concern several tiers, through every door."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.conftest import (
    AGENT_TOKEN,
    DOORS,
    INSTANCE,
    Door,
    Stack,
    agent_environment,
    open_door,
)
from tests.support.controlplane import prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, running
from tests.support.waiting import eventually

BACKENDS = ["LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"]
WAIT = 30.0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiers")


@pytest.fixture(scope="module")
def tiers(directory: Path) -> Iterator[Stack]:
    """A worker with memory, disk and a shared directory, and a control plane."""
    port = free_ports(3)
    settings = {
        **agent_environment(port),
        "KVPLANE_LOCAL_DISK": str(directory / "disk"),
        "KVPLANE_MAX_LOCAL_DISK_SIZE": "0.1",
        "KVPLANE_REMOTE_URL": f"fs://{directory}/shared",
        "KVPLANE_CONFIG_DIRS": str(directory),
    }
    worker_url, controlplane_url = f"http://127.0.0.1:{port + 1}", f"http://127.0.0.1:{port + 2}"
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
    token = prepare(environment, "contract", "operator")
    command = [sys.executable, "-m", "engine"]
    with running(command, settings, directory / "agent.log", [f"{worker_url}/health"]):
        register(environment, "worker", worker_url, engine=INSTANCE, worker_id=0, token=AGENT_TOKEN)
        log = directory / "controlplane.log"
        with running(serve_command(port + 2), environment, log, [f"{controlplane_url}/health"]):
            yield Stack("", worker_url, controlplane_url, environment, token)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, tiers: Stack) -> Iterator[Door]:
    with open_door(tiers, request.param, "worker", tiers.worker_url) as client:
        for name in BACKENDS:
            client.put("/bypass/remove", params={"backend_name": name}).raise_for_status()
        client.delete("/cache/clear").raise_for_status()
        yield Door(request.param, client)


def store(door: Door) -> None:
    """Two chunks, and wait until every tier has them."""
    door.request("POST", "/cache/store", params={"tokens_mock": "0,32"})
    eventually(lambda: not any(tier.get("queued") for tier in storage(door).values()))


def storage(door: Door) -> dict[str, dict[str, object]]:
    return door.get("/agent/status").json()["storage"]


def test_bypass__added_and_removed__answers_as_documented(door: Door) -> None:
    remote = {"params": {"backend_name": "RemoteBackend"}}
    assert door.request("PUT", "/bypass/add", **remote).json() == {
        "status": "success",
        "backend_name": "RemoteBackend",
        "bypassed": True,
        "was_already_bypassed": False,
        "bypassed_backends": ["RemoteBackend"],
    }
    assert door.request("PUT", "/bypass/add", **remote).json()["was_already_bypassed"] is True
    assert door.get("/bypass/list").json() == {
        "status": "success",
        "bypassed_backends": ["RemoteBackend"],
        "all_backends": BACKENDS,
    }
    assert door.request("PUT", "/bypass/remove", **remote).json() == {
        "status": "success",
        "backend_name": "RemoteBackend",
        "bypassed": False,
        "was_bypassed": True,
        "bypassed_backends": [],
    }
    assert door.request("PUT", "/bypass/remove", **remote).json()["was_bypassed"] is False


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_bypass__unknown_or_no_backend__is_refused(door: Door, verb: str) -> None:
    answer = door.request("PUT", f"/bypass/{verb}", params={"backend_name": "FooBackend"})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "Unknown backend",
        "message": f"Backend 'FooBackend' not found. Available: {BACKENDS}",
    }
    for params in ({}, {"backend_name": " "}):
        answer = door.request("PUT", f"/bypass/{verb}", params=params)
        assert answer.status_code == 400
        assert "backend_name" in answer.json()["message"]


def test_clear__three_tiers__counts_the_chunks_of_each(door: Door) -> None:
    store(door)
    assert door.request("DELETE", "/cache/clear").json() == {
        "status": "success",
        "num_removed": 6,
        "removed": dict.fromkeys(BACKENDS, 2),
    }


def test_retrieve__memory_cleared__a_slower_tier_answers(door: Door) -> None:
    store(door)
    door.request("DELETE", "/cache/clear", params={"locations": "LocalCPUBackend"})
    retrieved = door.request("POST", "/cache/retrieve", params={"tokens_mock": "0,32"}).json()
    assert retrieved["num_retrieved"] == 32
    assert storage(door)["LocalCPUBackend"]["chunks"] == 2


def test_load_fs_chunks__shared_directory__fills_the_hot_cache(door: Door, directory: Path) -> None:
    store(door)
    door.request("DELETE", "/cache/clear", params={"locations": "LocalCPUBackend"})
    config = directory / "lmcache.yaml"
    config.write_text(f"remote_url: 'fs://{directory}/shared'\n")
    body = {"config_path": str(config), "max_chunks": 100}
    answer = door.request("POST", "/cache/load-fs-chunks", json=body)
    assert answer.json() == {
        "status": "success",
        "loaded_chunks": 2,
        "total_files": 2,
        "failed_keys": [],
        "config_path": str(config),
    }
    assert storage(door)["LocalCPUBackend"]["chunks"] == 2


def test_load_fs_chunks__file_missing__answers_as_documented(door: Door, directory: Path) -> None:
    path = f"{directory}/none.yaml"
    answer = door.request("POST", "/cache/load-fs-chunks", json={"config_path": path})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "Failed to load chunks from FSConnector",
        "message": "Configuration file not found",
        "config_path": path,
    }


def test_conf__remote_url__is_shown(door: Door, directory: Path) -> None:
    assert door.get("/conf", params={"names": "remote_url"}).json() == {
        "remote_url": f"fs://{directory}/shared"
    }


def test_metrics__asked_of_the_agent__are_prometheus(tiers: Stack) -> None:
    headers = {"Authorization": f"Bearer {AGENT_TOKEN}"}
    answer = httpx.get(f"{tiers.worker_url}/metrics", headers=headers, trust_env=False)
    assert 'kvplane_backend_capacity_bytes{backend="LocalDiskBackend"}' in answer.text
