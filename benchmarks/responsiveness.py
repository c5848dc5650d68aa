"""How long other endpoints of an agent wait while it stores a gigabyte."""

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.report import Result
from benchmarks.stack import AGENT_TOKEN, agent_process
from benchmarks.transfer import NUM_TOKENS, SHAPE
from engine.contract import CATALOGUE, Component, Endpoint
from tests.support.processes import free_ports

ROUNDS = 5
MOVES_BYTES = ("store_cache", "retrieve_cache")
ENDS_A_STORE = ("clear_cache", "enable_freeze", "disable_hot_cache")


def measure() -> Iterator[Result]:
    """Ask every other endpoint in turn, over and over, while stores run."""
    settings = {f"KVPLANE_{name.upper()}": str(value) for name, value in SHAPE.items()}
    with (
        tempfile.TemporaryDirectory() as directory,
        agent_process(Path(directory), free_ports(2), **settings) as url,
    ):
        latencies = sorted(_latencies_during_stores(url))
    worst_seconds, worst_path = latencies[-1]
    p99 = latencies[int(len(latencies) * 0.99)][0]
    print(
        f"  {len(latencies)} calls during {ROUNDS} stores: p99 {p99 * 1000:.1f} ms, "
        f"worst {worst_seconds * 1000:.1f} ms ({worst_path})"
    )
    yield Result(
        "slowest answer of another endpoint while 1 GiB is stored, in ms",
        worst_seconds * 1000,
        20,
        higher_is_better=False,
    )


def _latencies_during_stores(url: str) -> list[tuple[float, str]]:
    """Seconds and path of every call that was answered while a store ran."""
    asker = http.client.HTTPConnection(*address(url))
    others = [
        entry
        for entry in CATALOGUE
        if entry.operation_id not in MOVES_BYTES and entry.component is not Component.VLLM
    ]
    enders = [entry for entry in others if entry.operation_id in ENDS_A_STORE]
    latencies: list[tuple[float, str]] = []
    for _ in range(ROUNDS):
        with _storing(url, asker) as running:
            while running():
                for endpoint in others:
                    if endpoint not in enders:
                        latencies += timed(asker, endpoint, running)
        for endpoint in enders:
            with _storing(url, asker) as running:
                latencies += timed(asker, endpoint, running)
    return latencies


@contextmanager
def _storing(url: str, asker: http.client.HTTPConnection) -> Iterator[Callable[[], bool]]:
    """A store of all slots that has begun to move bytes; whether it still does."""
    for method, path in (
        ("PUT", "/freeze/disable"),
        ("PUT", "/hot_cache/enable"),
        ("DELETE", "/cache/clear"),
    ):
        call(asker, method, path)
    storer = http.client.HTTPConnection(*address(url))
    thread = threading.Thread(
        target=call, args=(storer, "POST", f"/cache/store?tokens_mock=0,{NUM_TOKENS}")
    )
    thread.start()
    while thread.is_alive() and _stored_chunks(asker) == 0:
        pass
    yield thread.is_alive
    thread.join()
    storer.close()


def _stored_chunks(connection: http.client.HTTPConnection) -> int:
    document = json.loads(call(connection, "GET", "/agent/status"))
    chunks: int = document["storage"]["LocalCPUBackend"]["chunks"]
    return chunks


def timed(
    connection: http.client.HTTPConnection, endpoint: Endpoint, running: Callable[[], bool]
) -> list[tuple[float, str]]:
    """Seconds and path of one call to that endpoint; none once nothing runs."""
    if not running():
        return []
    started = time.perf_counter()
    # Some documented examples name what this agent does not have; 400 is an answer too.
    status, answer = _ask(connection, endpoint.method, _target(endpoint), _body(endpoint))
    if status >= 500:
        raise RuntimeError(f"{endpoint.path}: {status} {answer[:200]!r}")
    return [(time.perf_counter() - started, endpoint.path)]


def _target(endpoint: Endpoint) -> str:
    required = [f"{p.name}={p.example}" for p in endpoint.parameters if p.required]
    return f"{endpoint.path}?{'&'.join(required)}" if required else endpoint.path


def _body(endpoint: Endpoint) -> bytes | None:
    return None if endpoint.body_schema is None else b"{}"


def address(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def call(connection: http.client.HTTPConnection, method: str, target: str) -> bytes:
    """The body of the answer. Raises RuntimeError unless it is 200."""
    status, answer = _ask(connection, method, target, None)
    if status != 200:
        raise RuntimeError(f"{method} {target}: {status} {answer[:200]!r}")
    return answer


def _ask(
    connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {AGENT_TOKEN}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, target, body=body, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()
