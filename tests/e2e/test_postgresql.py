"""The control plane's tests of what is written, on a real PostgreSQL: its locks, its
triggers, its order of commits."""

import subprocess
import sys

import pytest

from tests.support.postgresql_server import find_programs, running_postgresql
from tests.support.processes import ROOT, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PARTS = (
    *("audit", "configuration", "dashboard", "fleet", "modes", "operations", "reconcile"),
    *("statistics", "commands/test_doctor.py"),
)


def test_controlplane__on_postgresql__writes_as_on_sqlite() -> None:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: initdb is not on the PATH")
    with running_postgresql(programs) as url:
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *("--numprocesses", "2", "--dist", "loadgroup"),
                *(f"tests/controlplane/{part}" for part in PARTS),
            ],
            cwd=ROOT,
            env=clean_environment(DATABASE_URL=url),
            capture_output=True,
            text=True,
            timeout=1180,
        )
    assert finished.returncode == 0, finished.stdout[-6000:]
    assert " passed" in finished.stdout.splitlines()[-1]
