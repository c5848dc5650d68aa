"""The control plane's tests of what is written, on a real PostgreSQL: its locks, its
triggers, its order of commits."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.postgresql_server import find_programs, running_postgresql
from tests.support.processes import ROOT, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
HALVES = (
    ("audit", "configuration", "fleet", "modes"),
    ("dashboard", "operations", "reconcile", "statistics", "commands/test_doctor.py"),
)
"""Each on a server of its own, because some look at what the server writes."""


def run(url: str, parts: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"tests/controlplane/{part}" for part in parts),
        ],
        cwd=ROOT,
        env=clean_environment(DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=1180,
    )


def test_controlplane__on_postgresql__writes_as_on_sqlite() -> None:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: initdb is not on the PATH")
    with ExitStack() as servers, ThreadPoolExecutor(len(HALVES)) as threads:
        urls = [servers.enter_context(running_postgresql(programs)) for _ in HALVES]
        runs = list(threads.map(run, urls, HALVES))
    for finished in runs:
        assert finished.returncode == 0, finished.stdout[-6000:]
        assert " passed" in finished.stdout.splitlines()[-1]
