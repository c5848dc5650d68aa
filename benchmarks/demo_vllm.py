"""`make demo-vllm`: a real model in vLLM with the connector, a control plane beside it,
one long document and several questions about it."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx

from tests.support.controlplane import prepare as prepare_controlplane
from tests.support.controlplane import serve_command
from tests.support.processes import clean_environment, free_ports, manage, running
from tests.support.smollm2 import MODEL, prepare
from tests.support.vllm_server import ask, vllm_server

DIRECTORY = MODEL.parent / "demo-vllm"
AGENT_TOKEN = "demo-agent-token"
DOCUMENT = "\n".join(
    f"{number}. On day {number} the keeper of the lighthouse of Skerry {number % 17} wrote down "
    f"{(number * 37) % 91} ships, {(number * 53) % 29} gulls and a wind from the "
    f"{('north', 'east', 'south', 'west')[number % 4]}."
    for number in range(1, 92)
)
QUESTIONS = (
    "Which wind blew on day 12? Answer in one sentence.",
    "How many ships were there on day 40? Answer in one sentence.",
    "Who wrote this? Answer in one sentence.",
)
_REGISTERED_SECONDS = 30.0
TIERS = ("LocalCPUBackend", "LocalDiskBackend")


@dataclass(frozen=True)
class Demo:
    """`api` is an operator's client of the control plane."""

    api: httpx.Client
    agents_keys: dict[str, object]
    vllm_port: int

    @contextmanager
    def vllm(self) -> Iterator[httpx.Client]:
        log = DIRECTORY / "vllm.log"
        with vllm_server(MODEL, self.vllm_port, log, self.agents_keys) as client:
            yield client

    def change(self, method: str, path: str, **options: object) -> None:
        answer = self.api.request(method, path, **options)
        answer.raise_for_status()
        print(f"    {method} {path} -> {answer.text}")

    def hit_tokens(self) -> dict[str, float]:
        """Tokens restored so far, by the tier that had them."""
        url = f"http://127.0.0.1:{int(str(self.agents_keys['internal_api_server_port_start'])) + 1}"
        headers = {"Authorization": f"Bearer {AGENT_TOKEN}"}
        text = httpx.get(f"{url}/metrics", headers=headers, trust_env=False).text
        found = re.findall(r'kvplane_backend_hit_tokens_total\{backend="(\w+)"\} ([\d.e+]+)', text)
        return {name: float(value) for name, value in found if name in TIERS}


def main() -> None:
    prepare(MODEL)
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    with ExitStack() as opened:
        demo = opened.enter_context(_control_plane())
        print("\nvLLM starts with an empty cache.")
        with demo.vllm() as client:
            _wait_for_agents(demo)
            cold = _ask(demo, client, 0)
            warm = _ask(demo, client, 1)
            print(f"    the second question got its first token {cold / warm:.0f} times sooner")
            _show_modes(demo, client)
        print("\nvLLM starts again: memory is empty, the disk is not.")
        with demo.vllm() as client:
            _ask(demo, client, 2)
            _show_bypass(demo, client)
        audited = demo.api.get("/api/v1/audit/", params={"stage": "completed"}).json()["results"]
        print("\nWhat the control plane wrote down:")
        for entry in reversed(audited):
            print(f"    {entry['action']:<24} {entry['agent'] or '':<20} {entry['outcome']}")


@contextmanager
def _control_plane() -> Iterator[Demo]:
    port = free_ports(4)
    url = f"http://127.0.0.1:{port}"
    environment = clean_environment(KVPLANE_DATA_DIR=str(DIRECTORY / "controlplane"))
    token = prepare_controlplane(environment, "demo", "operator")
    enrolment = manage(environment, "create_enrolment_token", "demo").strip().split()[-1]
    keys: dict[str, object] = {
        "agent_token": AGENT_TOKEN,
        "controlplane_url": url,
        "enrolment_token": enrolment,
        "internal_api_server_port_start": port + 2,
        "lmcache_instance_id": "demo",
        "chunk_size": 32,
        "max_local_cpu_size": 1.0,
        "local_disk": str(DIRECTORY / "disk"),
        "max_local_disk_size": 2.0,
        "storage_queue_chunks": 256,
        "enable_chunk_statistics": True,
        "chunk_statistics_auto_start_statistics": True,
    }
    log = DIRECTORY / "controlplane.log"
    headers = {"Authorization": f"Bearer {token}"}
    with (
        running(serve_command(port), environment, log, [f"{url}/health"]),
        httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as api,
    ):
        yield Demo(api, keys, port + 1)


def _wait_for_agents(demo: Demo) -> None:
    """They register by themselves, while vLLM starts."""
    deadline = time.monotonic() + _REGISTERED_SECONDS
    names: list[str] = []
    while len(names) < 2 and time.monotonic() < deadline:
        names = [agent["name"] for agent in demo.api.get("/api/v1/agents/").json()["results"]]
        time.sleep(0.2)
    print(f"    registered with the control plane: {', '.join(names) or 'nobody'}")


def _ask(demo: Demo, client: httpx.Client, number: int) -> float:
    before = demo.hit_tokens()
    answer = ask(client, DOCUMENT, QUESTIONS[number])
    after = demo.hit_tokens()
    restored = {name: int(after[name] - before[name]) for name in after}
    where = ", ".join(f"{tokens} tokens from {name}" for name, tokens in restored.items() if tokens)
    print(
        f"    question {number + 1}: first token after {answer.first_token_s:.2f} s; "
        f"{where or 'nothing restored'}"
    )
    print(f"        {answer.text!r}")
    return answer.first_token_s


def _show_modes(demo: Demo, client: httpx.Client) -> None:
    print("\nFrozen, nothing new is kept:")
    demo.change("PUT", "/freeze/enable", headers={"X-KVPlane-Reason": "demo"})
    before = _chunks(demo)
    ask(client, f"Another text. {DOCUMENT[:2000]}", QUESTIONS[0])
    print(f"    chunks in memory before and after another document: {before}, {_chunks(demo)}")
    demo.change("PUT", "/freeze/disable")
    status = demo.api.get("/chunk_statistics/status").json()
    print(
        f"\nChunk statistics: {status['total_requests']} requests, "
        f"{status['total_chunks']} chunks, {100 * status['reuse_rate']:.0f} % seen before"
    )


def _show_bypass(demo: Demo, client: httpx.Client) -> None:
    print("\nWith the disk bypassed and memory cleared there is nothing to restore:")
    demo.change("PUT", "/bypass/add", params={"backend_name": "LocalDiskBackend"})
    demo.change("DELETE", "/cache/clear", params={"locations": "LocalCPUBackend"})
    _ask(demo, client, 1)
    demo.change("PUT", "/bypass/remove", params={"backend_name": "LocalDiskBackend"})


def _chunks(demo: Demo) -> int:
    agents = demo.api.get("/api/v1/agents/").json()["results"]
    worker = next(agent["name"] for agent in agents if agent["role"] == "worker")
    status = demo.api.get(f"/agents/{worker}/agent/status").json()
    return status["storage"]["LocalCPUBackend"]["chunks"]


if __name__ == "__main__":
    main()
