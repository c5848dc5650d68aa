"""A real model behind vLLM's own server, in processes of its own: its agents enrol, its
answers are the same warm as cold, and what it kept outlives it."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.controlplane import prepare, serve_command
from tests.support.processes import clean_environment, free_ports, manage, running
from tests.support.smollm2 import MODEL
from tests.support.smollm2 import prepare as prepare_model
from tests.support.vllm_server import ask, vllm_server
from tests.support.waiting import eventually

TOKEN = "agent-token-of-the-vllm-server"
WAIT = 60.0
DOCUMENT = "\n".join(
    f"{number}. On day {number} the keeper wrote down {(number * 37) % 91} ships and "
    f"{(number * 53) % 29} gulls."
    for number in range(1, 41)
)
QUESTIONS = ("How many ships were there on day 12?", "How many gulls were there on day 30?")
SCHEDULER, WORKER = "/agents/real-scheduler", "/agents/real-worker-0"


@pytest.fixture
def controlplane(tmp_path: Path) -> Iterator[tuple[httpx.Client, dict[str, object], int]]:
    """An operator's client, what vLLM's agents are told, and a port for vLLM."""
    port = free_ports(4)
    url = f"http://127.0.0.1:{port}"
    environment = clean_environment(KVPLANE_DATA_DIR=str(tmp_path / "data"))
    headers = {"Authorization": f"Bearer {prepare(environment, 'vllm', 'operator')}"}
    enrolment = manage(environment, "create_enrolment_token", "vllm").strip().split()[-1]
    keys: dict[str, object] = {
        "agent_token": TOKEN,
        "controlplane_url": url,
        "enrolment_token": enrolment,
        "internal_api_server_port_start": port + 2,
        "lmcache_instance_id": "real",
        "chunk_size": 64,
        "max_local_cpu_size": 0.5,
        "local_disk": str(tmp_path / "disk"),
        "max_local_disk_size": 1.0,
        "storage_queue_chunks": 64,
    }
    log = tmp_path / "controlplane.log"
    with ExitStack() as opened:
        opened.enter_context(running(serve_command(port), environment, log, [f"{url}/health"]))
        api = httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60)
        yield opened.enter_context(api), keys, port + 1


def await_agents(api: httpx.Client) -> None:
    def answer() -> bool:
        agents = (SCHEDULER, WORKER)
        return all(api.get(f"{agent}/agent/status").status_code == 200 for agent in agents)

    eventually(answer, seconds=WAIT)


def left(api: httpx.Client) -> dict[str, bool]:
    """Which agents have said that their process ends."""
    agents = api.get("/api/v1/agents/").json()["results"]
    return {agent["name"]: agent["left_at"] is not None for agent in agents}


def hit_tokens(keys: dict[str, object], backend: str) -> float:
    """Tokens that the backend has restored."""
    port = int(str(keys["internal_api_server_port_start"])) + 1
    text = httpx.get(
        f"http://127.0.0.1:{port}/metrics",
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
    ).text
    found = re.search(rf'kvplane_backend_hit_tokens_total{{backend="{backend}"}} (\S+)', text)
    assert found is not None
    return float(found[1])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_vllm_server__real_model__answers_the_same_warm_and_after_a_restart(
    controlplane: tuple[httpx.Client, dict[str, object], int], tmp_path: Path
) -> None:
    api, keys, port = controlplane
    prepare_model(MODEL)
    with vllm_server(MODEL, port, tmp_path / "first.log", keys) as client:
        await_agents(api)
        info = api.get(f"{SCHEDULER}/inference_info").json()
        assert info["vllm_config"]["max_model_len"] == 4352
        assert api.get(f"{WORKER}/meta").json()["kv_shape"] == [30, 2, 64, 3, 64]
        cold = [ask(client, DOCUMENT, question).text for question in QUESTIONS]
        assert hit_tokens(keys, "LocalCPUBackend") > 500
        warm = [ask(client, DOCUMENT, question).text for question in QUESTIONS]
        assert warm == cold
        api.put(f"{WORKER}/bypass/add?backend_name=LocalDiskBackend").raise_for_status()
        api.delete(f"{WORKER}/cache/clear").raise_for_status()
        before = hit_tokens(keys, "LocalCPUBackend")
        assert ask(client, DOCUMENT, QUESTIONS[0]).text == cold[0]
        assert hit_tokens(keys, "LocalCPUBackend") == before
    assert left(api) == {"real-scheduler": True, "real-worker-0": True}
    with vllm_server(MODEL, port, tmp_path / "second.log", keys) as client:
        await_agents(api)
        assert left(api) == {"real-scheduler": False, "real-worker-0": False}
        assert [ask(client, DOCUMENT, question).text for question in QUESTIONS] == cold
        assert hit_tokens(keys, "LocalDiskBackend") > 500
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port + 1}/health", trust_env=False)
