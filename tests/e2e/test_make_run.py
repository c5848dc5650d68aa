"""`make run`, as a new user meets it: start, paste the three commands, stop,
start again."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.processes import ROOT, clean_environment, free_ports

pytestmark = pytest.mark.slow

READY_SECONDS = 180.0
STOP_SECONDS = 30.0
READY = "Ctrl-C stops everything."


class Run:
    """A `make run` under way, and what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                line = self._queue.get(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError("not ready in time:\n" + "\n".join(self.lines)) from None
            assert line is not None, "ended early:\n" + "\n".join(self.lines)
            self.lines.append(line)
            if READY in line:
                return

    def drain(self) -> None:
        """Collect what an ended run printed."""
        while (line := self._queue.get(timeout=STOP_SECONDS)) is not None:
            self.lines.append(line)

    @property
    def commands(self) -> list[str]:
        return [line.strip() for line in self.lines if line.strip().startswith("curl ")]

    def interrupt(self) -> int:
        """Ctrl-C, as a terminal sends it: to every process of the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


def settings_for(data: Path, port: int) -> dict[str, str]:
    return clean_environment(
        KVPLANE_DATA_DIR=str(data),
        KVPLANE_EMBEDDED_CONTROLLER="true",
        KVPLANE_PORT=str(port),
        KVPLANE_INTERNAL_API_SERVER_PORT_START=str(port + 1),
        KVPLANE_MAX_LOCAL_CPU_SIZE="0.1",
    )


@contextmanager
def make_run(
    environment: dict[str, str], target: str = "run", controlplane_venv: str = sys.prefix
) -> Iterator[Run]:
    process = subprocess.Popen(
        ["make", target, f"VENV={sys.prefix}", f"CONTROLPLANE_VENV={controlplane_venv}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield Run(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(STOP_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def paste(command: str) -> object:
    """Run a printed command as a person's shell would; its JSON answer."""
    finished = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(finished.stdout)


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_make_run__three_printed_commands__read_freeze_and_find_it_in_the_audit(
    tmp_path: Path,
) -> None:
    port = free_ports(4)
    environment = settings_for(tmp_path, port)
    with make_run(environment) as run:
        run.wait_until_ready()
        read, freeze, audit = run.commands
        assert paste(read)["model_name"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert paste(freeze) == {
            "status": "success",
            "freeze": True,
            "message": "Freeze mode enabled successfully",
        }
        entries = paste(audit)["results"]
        assert [entry["stage"] for entry in entries] == ["completed", "requested"]
        assert {entry["operation_id"] for entry in entries} != {None}
        assert len({entry["operation_id"] for entry in entries}) == 1
        assert {entry["reason"] for entry in entries} == {"trying it out"}
        for page in ("api/docs/", "api/redoc/", "admin/login/"):
            answer = httpx.get(f"http://127.0.0.1:{port}/{page}", trust_env=False)
            assert answer.status_code == 200, page
        run.interrupt()
    assert all(port_is_free(number) for number in range(port, port + 4))

    with make_run(environment) as again:
        again.wait_until_ready()
        entries = paste(again.commands[2])["results"]
        assert {entry["reason"] for entry in entries} == {"trying it out"}


def test_make_run__port_taken__names_the_port_and_the_setting(tmp_path: Path) -> None:
    port = free_ports(4)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port + 2))
        holder.listen()
        with make_run(settings_for(tmp_path, port)) as run:
            assert run.process.wait(READY_SECONDS) != 0
            run.drain()
    message = "\n".join(run.lines)
    assert f"Port {port + 2}" in message
    assert "KVPLANE_INTERNAL_API_SERVER_PORT_START" in message


def test_make_run_controlplane__environment_of_its_own__serves_without_torch_and_vllm(
    tmp_path: Path,
) -> None:
    port = free_ports(4)
    venv = tmp_path / "venv"
    with make_run(settings_for(tmp_path / "data", port), "run-controlplane", str(venv)) as run:
        run.wait_until_ready()
        assert run.commands == []
        answer = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
        assert answer.json() == {"status": "ok"}
        assert port_is_free(port + 1)
        run.interrupt()
    assert port_is_free(port)
    for module in ("torch", "vllm", "numpy"):
        finished = subprocess.run(
            [venv / "bin" / "python", "-c", f"import {module}"], capture_output=True, text=True
        )
        assert "ModuleNotFoundError" in finished.stderr


def test_make_run__printed_login__opens_the_admin(tmp_path: Path) -> None:
    port = free_ports(4)
    with make_run(settings_for(tmp_path, port), "run") as run:
        run.wait_until_ready()
        (line,) = [line for line in run.lines if "password in" in line]
        username = line.split()[1].rstrip(",")
        password = Path(line.split("password in ")[1]).read_text().strip()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as browser:
            browser.get("/admin/login/")
            answer = browser.post(
                "/admin/login/?next=/admin/",
                data={
                    "username": username,
                    "password": password,
                    "csrfmiddlewaretoken": browser.cookies["kvplane_csrf"],
                },
                follow_redirects=True,
            )
        assert (answer.status_code, answer.url.path) == (200, "/admin/")
        run.interrupt()
