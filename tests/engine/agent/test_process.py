"""`python -m engine` as an operator runs it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.engine.agent.conftest import SMALL
from tests.engine.agent.controlplane_double import controlplane
from tests.support.processes import clean_environment, free_ports, running

COMMAND = [sys.executable, "-m", "engine"]
STOP_SECONDS = 10.0


def environment_of(port: int, **settings: object) -> dict[str, str]:
    given = {**SMALL, "internal_api_server_port_start": port, **settings}
    return clean_environment(
        **{f"KVPLANE_{name.upper()}": str(value) for name, value in given.items()}
    )


@contextmanager
def agents(tmp_path: Path, **settings: object) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A scheduler and a worker; the scheduler's port, and the process."""
    port = free_ports(2)
    health = [f"http://127.0.0.1:{port + index}/health" for index in (0, 1)]
    with running(COMMAND, environment_of(port, **settings), tmp_path / "log", health) as process:
        yield port, process


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=90
    )


def assert_ends(process: subprocess.Popen[bytes]) -> None:
    assert process.wait(STOP_SECONDS) == 0


def test_start__scheduler_and_worker__each_on_its_port_and_announced(tmp_path: Path) -> None:
    with agents(tmp_path) as (port, process):
        roles = [
            httpx.get(f"http://127.0.0.1:{port + index}/meta?names=role").json()["role"]
            for index in (0, 1)
        ]
        process.send_signal(signal.SIGTERM)
        assert_ends(process)
    assert roles == ["scheduler", "worker"]
    log = (tmp_path / "log").read_text()
    assert f"KVPlane agent small-scheduler listens on http://127.0.0.1:{port}\n" in log
    assert f"KVPlane agent small-worker-0 listens on http://127.0.0.1:{port + 1}\n" in log
    assert "Traceback" not in log


def test_change_of_configuration__on_one_agent__leaves_the_other_alone(tmp_path: Path) -> None:
    with agents(tmp_path) as (port, _):
        worker, scheduler = (f"http://127.0.0.1:{port + index}/conf" for index in (1, 0))
        assert httpx.post(worker, json={"min_retrieve_tokens": 5}).status_code == 200
        query = "?names=min_retrieve_tokens"
        assert httpx.get(worker + query).json() == {"min_retrieve_tokens": 5}
        assert httpx.get(scheduler + query).json() == {"min_retrieve_tokens": 0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop__with_idle_keep_alive_connections__ends_in_seconds(
    tmp_path: Path, number: signal.Signals
) -> None:
    with agents(tmp_path) as (port, process):
        clients = [http.client.HTTPConnection("127.0.0.1", port + index) for index in (0, 1)]
        for client in clients:
            client.request("GET", "/health")
            client.getresponse().read()
        process.send_signal(number)
        assert_ends(process)
        for client in clients:
            client.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_stop__while_a_checksum_runs__answers_503_and_ends_in_seconds(tmp_path: Path) -> None:
    # One chunk of 9.9 million slots, hashed in one piece, takes far longer than the grace.
    mapping = ",".join(["[0,16383]"] * 600)
    path = f"/cache/kvcache/check?chunk_size=9999999&slot_mapping={mapping}"
    sizes = {"num_blocks": 4_096, "head_size": 64, "num_layers": 8}
    answers: list[tuple[int, dict[str, str]]] = []
    with agents(tmp_path, **sizes, max_local_cpu_size=0.01) as (port, process):
        client = http.client.HTTPConnection("127.0.0.1", port + 1, timeout=60)
        client.request("GET", path)

        def receive() -> None:
            answer = client.getresponse()
            answers.append((answer.status, json.loads(answer.read())))

        receiver = threading.Thread(target=receive)
        receiver.start()
        # The request has been read once a later one on another connection is answered.
        httpx.get(f"http://127.0.0.1:{port + 1}/freeze/status")
        process.send_signal(signal.SIGTERM)
        assert_ends(process)
        receiver.join(STOP_SECONDS)
        client.close()
    assert [(status, body["error"]) for status, body in answers] == [(503, "Agent is stopping")]
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_start__port_taken__exit_1_naming_port_and_setting() -> None:
    port = free_ports(2)
    with socket.create_server(("127.0.0.1", port + 1)):
        finished = run(environment_of(port))
    assert finished.returncode == 1
    assert f"port {port + 1}" in finished.stderr
    assert "internal_api_server_port_start" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.stdout == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_start__beyond_loopback_without_a_token__exit_2_naming_both_keys(host: str) -> None:
    finished = run(environment_of(6999, internal_api_server_host=host))
    assert finished.returncode == 2
    assert "internal_api_server_host" in finished.stderr
    assert "agent_token" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--chunk-size", "0"], "chunk_size"),
        (["--worker-ids", "3"], "world_size"),
        (["--config", "/no/such/file.yaml"], "/no/such/file.yaml"),
        (["--internal-api-server-enabled", "false"], "internal_api_server_enabled"),
        (["--internal-api-server-include-index-list", "7"], "include_index_list"),
        (["--max-local-cpu-size", "0.0000001"], "max_local_cpu_size"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--chunk", "16"], "--chunk"),
    ],
)
def test_start__configuration_unusable__exit_2_without_traceback(
    arguments: list[str], word: str
) -> None:
    finished = run(environment_of(free_ports(2)), *arguments)
    assert finished.returncode == 2
    assert word in finished.stderr
    assert "Traceback" not in finished.stderr


def test_start__flag_environment_and_file__flag_wins(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("min_retrieve_tokens: 1\nsave_decode_cache: true\nchunk_size: 8\n")
    port = free_ports(2)
    environment = environment_of(port, chunk_size=4)
    command = [*COMMAND, "--config", str(file), "--chunk-size", "32", "--save-unfull-chunk"]
    with running(command, environment, tmp_path / "log", [f"http://127.0.0.1:{port}/health"]):
        answer = httpx.get(
            f"http://127.0.0.1:{port}/conf"
            "?names=min_retrieve_tokens,chunk_size,save_decode_cache,save_unfull_chunk"
        )
    assert list(answer.json().values()) == [1, 32, True, True]


def test_start__one_agent_included__only_that_port_listens(tmp_path: Path) -> None:
    port = free_ports(2)
    environment = environment_of(port, internal_api_server_include_index_list="1")
    with (
        running(COMMAND, environment, tmp_path / "log", [f"http://127.0.0.1:{port + 1}/health"]),
        pytest.raises(httpx.ConnectError),
    ):
        httpx.get(f"http://127.0.0.1:{port}/health")


def test_start__control_plane_named__every_agent_registers(tmp_path: Path) -> None:
    settings = {"enrolment_token": "enrol-secret", "agent_token": "agent-secret"}
    with (
        controlplane(201) as server,
        agents(tmp_path, controlplane_url=server.url, **settings) as (port, _),
    ):
        for _ in range(2):
            assert server.arrived.acquire(timeout=30)
    found = {
        entry.document["name"]: entry.document["url"]
        for entry in server.enrolments
        if entry.path == "/api/v1/enrol"
    }
    assert found == {
        "small-scheduler": f"http://127.0.0.1:{port}",
        "small-worker-0": f"http://127.0.0.1:{port + 1}",
    }
    left = [entry.document["name"] for entry in server.enrolments if "leave" in entry.path]
    assert sorted(left) == sorted(found)
    assert "secret" not in (tmp_path / "log").read_text()


def test_start__control_plane_unreachable__serves_and_stops_all_the_same(tmp_path: Path) -> None:
    settings = {"controlplane_url": "http://127.0.0.1:9", "enrolment_token": "enrol-secret"}
    with agents(tmp_path, **settings) as (port, process):
        assert httpx.get(f"http://127.0.0.1:{port}/freeze/status").status_code == 503
        process.send_signal(signal.SIGTERM)
        assert_ends(process)


BAD_REQUESTS = [
    (b"nonsense\r\n\r\n", 400),
    (b"GET /health HTTP/9.9\r\n\r\n", 400),
    (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
    (b"GET /conf?names=" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    (b"GET /conf HTTP/1.1\r\n\r\n", 403),
]


def test_http__not_what_the_parser_takes__error_body_all_the_same(tmp_path: Path) -> None:
    with agents(tmp_path) as (port, _):
        for request, status in BAD_REQUESTS:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(request)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                document = json.loads(answer.read(int(answer.headers["Content-Length"])))
            assert (request[:40], answer.status) == (request[:40], status)
            assert set(document) == {"error", "message"}
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_help__asked__names_every_key_by_group() -> None:
    finished = run(dict(os.environ), "--help")
    assert finished.returncode == 0
    for text in ("HTTP API:", "control plane:", "KV cache of a worker:", "--max-local-cpu-size"):
        assert text in finished.stdout
