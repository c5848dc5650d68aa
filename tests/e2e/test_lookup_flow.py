"""The documented usage flow of lookups, on real processes, through the control plane:
change the configuration, recreate on the workers, then on the scheduler."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.controlplane import prepare, register, serve_command
from tests.support.processes import clean_environment, free_ports, running
from tests.support.waiting import eventually

TOKEN = "agent-token-of-the-lookup-flow"
WAIT = 30.0
CHUNK = 16
TOKENS = 10 * CHUNK
PLAIN, ASYNC, BYPASS = (
    "LMCacheLookupClient",
    "LMCacheAsyncLookupClient",
    "LMCacheBypassLookupClient",
)
ASYNC_MODE = {"enable_async_loading": True}
BYPASS_MODE = {"enable_scheduler_bypass_lookup": True}


@pytest.fixture(scope="module")
def controlplane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An operator's client. The engine: a scheduler and two workers, a process each,
    with a disk each and a directory that they share."""
    directory = tmp_path_factory.mktemp("flow")
    port = free_ports(4)
    url = f"http://127.0.0.1:{port + 3}"
    environment = clean_environment(KVPLANE_DATA_DIR=str(directory / "data"))
    token = prepare(environment, "flow", "operator")
    with ExitStack() as opened:
        for name, serves in (
            ("worker-0", {"SERVE_SCHEDULER": "false", "WORKER_IDS": "0"}),
            ("worker-1", {"SERVE_SCHEDULER": "false", "WORKER_IDS": "1"}),
            ("scheduler", {"SERVE_SCHEDULER": "true", "WORKER_IDS": "[]"}),
        ):
            worker_id = int(name[-1]) if name != "scheduler" else None
            agent_url = f"http://127.0.0.1:{port + (0 if worker_id is None else 1 + worker_id)}"
            settings = agent_settings(port, directory, name, serves)
            opened.enter_context(
                running(
                    [sys.executable, "-m", "engine"],
                    settings,
                    directory / f"{name}.log",
                    [f"{agent_url}/health"],
                )
            )
            register(environment, name, agent_url, engine="flow", worker_id=worker_id, token=TOKEN)
        opened.enter_context(
            running(
                serve_command(port + 3),
                environment,
                directory / "controlplane.log",
                [f"{url}/health"],
            )
        )
        headers = {"Authorization": f"Bearer {token}"}
        client = httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60)
        yield opened.enter_context(client)


def agent_settings(port: int, directory: Path, name: str, serves: dict[str, str]) -> dict[str, str]:
    keys = {
        **serves,
        "AGENT_TOKEN": TOKEN,
        "INTERNAL_API_SERVER_PORT_START": str(port),
        "WORLD_SIZE": "2",
        "LMCACHE_INSTANCE_ID": "flow",
        "NUM_LAYERS": "2",
        "NUM_KV_HEADS": "1",
        "HEAD_SIZE": "8",
        "KV_DTYPE": "float32",
        "BLOCK_SIZE": "4",
        "NUM_BLOCKS": "64",
        "CHUNK_SIZE": str(CHUNK),
        "MAX_LOCAL_CPU_SIZE": "0.01",
        "REMOTE_URL": f"fs://{directory}/shared",
    }
    if name != "scheduler":
        keys |= {"LOCAL_DISK": str(directory / name), "MAX_LOCAL_DISK_SIZE": "0.1"}
    return clean_environment(**{f"KVPLANE_{key}": value for key, value in keys.items()})


def post(client: httpx.Client, path: str, **options: object) -> dict[str, object]:
    answer = client.post(path, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def found(client: httpx.Client) -> object:
    """What the default agent of a lookup finds of the stored tokens and some more."""
    return post(client, "/lookup/query", params={"tokens_mock": f"0,{TOKENS + 5 * CHUNK}"})[
        "num_hit"
    ]


def store_everywhere(client: httpx.Client) -> None:
    for worker in (0, 1):
        agent = f"/agents/worker-{worker}"
        post(client, f"{agent}/cache/store", params={"tokens_mock": f"0,{TOKENS}"})
        eventually(lambda agent=agent: is_written(client, agent))


def is_written(client: httpx.Client, agent: str) -> bool:
    storage = client.get(f"{agent}/agent/status").json()["storage"]
    return not any(tier.get("queued") for tier in storage.values())


def chunks_in_memory(client: httpx.Client, worker: int) -> int:
    status = client.get(f"/agents/worker-{worker}/agent/status").json()
    return status["storage"]["LocalCPUBackend"]["chunks"]


@pytest.mark.slow
def test_lookup__documented_flow__every_step_finds_what_is_stored(
    controlplane: httpx.Client,
) -> None:
    client = controlplane
    store_everywhere(client)
    assert client.get("/lookup/info").json() == {
        "client": PLAIN,
        "server": "None",
        "role": "scheduler",
    }
    assert found(client) == TOKENS

    counting = {"enable_chunk_statistics": True, "chunk_statistics_auto_start_statistics": True}
    post(client, "/agents/scheduler/conf", json=counting)
    recreated = post(client, "/lookup/recreate")
    assert recreated["new"] == f"ChunkStatisticsLookupClient({PLAIN})"
    assert found(client) == TOKENS

    for worker in (0, 1):
        agent = f"/agents/worker-{worker}"
        post(client, f"{agent}/conf", json=ASYNC_MODE)
        assert post(client, f"{agent}/lookup/recreate") == {
            "old": "LMCacheLookupServer",
            "new": "LMCacheAsyncLookupServer",
            "role": "worker",
        }
        info = client.get(f"{agent}/lookup/info").json()
        assert info == {"client": "None", "server": "LMCacheAsyncLookupServer", "role": "worker"}
        client.delete(f"{agent}/cache/clear", params={"locations": "LocalCPUBackend"})
        assert chunks_in_memory(client, worker) == 0
    assert found(client) == TOKENS
    assert chunks_in_memory(client, 0) == 0

    post(client, "/agents/scheduler/conf", json=ASYNC_MODE)
    preview = post(client, "/lookup/recreate", params={"dryrun": "true"})
    assert preview["new"] == f"ChunkStatisticsLookupClient({ASYNC})"
    assert client.get("/lookup/info").json()["client"] == f"ChunkStatisticsLookupClient({PLAIN})"
    assert post(client, "/lookup/recreate")["new"] == preview["new"]
    assert found(client) == TOKENS
    assert chunks_in_memory(client, 0) == chunks_in_memory(client, 1) == TOKENS // CHUNK

    post(client, "/agents/scheduler/conf", json=BYPASS_MODE)
    assert post(client, "/lookup/recreate")["new"] == f"ChunkStatisticsLookupClient({BYPASS})"
    post(client, "/agents/worker-0/lookup/close")
    assert found(client) == TOKENS

    status = client.get("/chunk_statistics/status", params={"engine": "flow"}).json()
    assert status["is_collecting"] is True
    assert status["total_requests"] == 4
    assert status["total_chunks"] == 4 * 15
    assert status["unique_chunks"] == 15

    operations = client.get("/api/v1/operations/", params={"page_size": 100}).json()["results"]
    done = [operation["action"] for operation in operations]
    assert done.count("lookup.recreate") == 5
    assert done.count("lookup.query") == 5
    assert done.count("lookup.close") == 1
    for verb, times in (("conf.update", 5), ("cache.store", 2), ("cache.clear", 2)):
        assert done.count(verb) == times
    audited = client.get("/api/v1/audit/", params={"page_size": 500}).json()["results"]
    for operation in operations:
        stages = [entry["stage"] for entry in audited if entry["operation_id"] == operation["id"]]
        assert sorted(stages) == ["completed", "requested"]
