"""A real PostgreSQL server on a free port, with its data in a temporary directory."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import free_ports

_START_SECONDS = 60.0
_ACCOUNTS = ("postgres", "nobody")


def find_programs() -> Path | None:
    """Where `initdb` and `postgres` are; None if they are not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


@contextmanager
def running_postgresql(programs: Path) -> Iterator[str]:
    """A server without a password, for this machine only; its URL."""
    account = _account()
    with tempfile.TemporaryDirectory(prefix="kvplane-pg-") as name:
        directory = Path(name)
        data, log = directory / "data", directory / "log"
        if account is not None:
            shutil.chown(directory, account)
        setup = [str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "kvplane", "-N"]
        subprocess.run(setup, user=account, check=True, capture_output=True, cwd=directory)
        port = free_ports(1)
        command = [
            *(str(programs / "postgres"), "-D", str(data), "-p", str(port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={directory}"),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, user=account, stdout=output, stderr=subprocess.STDOUT, cwd=directory
            )
        try:
            _wait_until_ready(programs, port, process, log)
            yield f"postgres://kvplane@127.0.0.1:{port}/postgres"
        finally:
            # Fast shutdown: nobody is waited for.
            process.send_signal(2)
            process.wait(30)


def _account() -> str | None:
    """PostgreSQL refuses to run as root; None: it need not be another account."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _ACCOUNTS if name in known)


def _wait_until_ready(
    programs: Path, port: int, process: "subprocess.Popen[bytes]", log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    asked = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
    while subprocess.run(asked, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
