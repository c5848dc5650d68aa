"""Real processes of the product, on free ports, with data in a directory of the
test's own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 90.0
_FIRST_PORT, _PORTS_OF_ONE, _SHARES = 10_000, 5_000, 4


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports that are free just now. Processes that share
    the tests have ports of their own, and none of those that connections go out from."""
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    begin = _FIRST_PORT + place % _SHARES * _PORTS_OF_ONE
    offset = os.getpid() * 37 % (_PORTS_OF_ONE // 2)
    for first in range(begin + offset, begin + _PORTS_OF_ONE - count, count):
        sockets = []
        try:
            for port in range(first, first + count):
                probe = socket.socket()
                sockets.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in sockets:
                probe.close()
    raise RuntimeError("no free ports")


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without settings of the product, plus these. The
    control loop is off unless they say otherwise: it would put right what a test
    changes past the control plane."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KVPLANE_") and name not in ("DATABASE_URL", "REDIS_URL")
    }
    return {**inherited, "KVPLANE_EMBEDDED_CONTROLLER": "false", **settings}


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until `url` answers 200, or fail with the end of the log."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"exit code {process.returncode}:\n{log.read_text()[-4000:]}")
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer:\n{log.read_text()[-4000:]}")


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, health_urls: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers on all its health URLs; stopped at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for url in health_urls:
            wait_for(url, process, log)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def manage(environment: Mapping[str, str], *arguments: str, given: str = "") -> str:
    """Run a management command with `given` on its standard input; its output."""
    finished = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=dict(environment),
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if finished.returncode != 0:
        raise RuntimeError(f"manage.py {' '.join(arguments)}:\n{finished.stderr}")
    return finished.stdout
