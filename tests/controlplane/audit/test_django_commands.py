"""Django's own commands, run as a person does, and what of them is on record."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import ROOT, clean_environment

pytestmark = pytest.mark.slow
Run = Callable[..., "subprocess.CompletedProcess[str]"]
SECRET = "a-password-that-nobody-may-read"
LIST = (
    "import json; from controlplane.audit.models import AuditEntry; "
    "print(json.dumps([e.content for e in AuditEntry.objects.filter(action='command.run')"
    ".order_by('id')]))"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`manage.py` on a database file of its own."""
    directory: Path = tmp_path_factory.mktemp("data")

    def run_command(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=clean_environment(KVPLANE_DATA_DIR=str(directory), **more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run_command


def test_commands__one_after_the_other__are_on_record_with_what_came_of_them(run: Run) -> None:
    refused = run("flush", "--noinput")
    assert refused.returncode == 1
    assert "'flush' was not run, because it could not be put on record" in refused.stderr
    assert "Traceback" not in refused.stderr

    assert run("migrate", "-v0").returncode == 0
    assert run("migrate", "-v0").returncode == 0
    made = run(
        *("createsuperuser", "--noinput", "--username", "ada", "--email", "ada@example.org"),
        DJANGO_SUPERUSER_PASSWORD=SECRET,
    )
    assert made.returncode == 0, made.stderr
    failed = run("loaddata", "no-such-fixture")
    assert failed.returncode != 0
    told = run("shell", "-c", f"password = '{SECRET}'; {LIST}")
    assert told.returncode == 0, told.stderr

    entries = json.loads(told.stdout.splitlines()[-1])
    assert [(e["target"].removeprefix("command:"), e["stage"], e["outcome"]) for e in entries] == [
        ("migrate", "event", "succeeded"),
        ("createsuperuser", "requested", ""),
        ("createsuperuser", "completed", "succeeded"),
        ("loaddata", "requested", ""),
        ("loaddata", "completed", "failed"),
        ("shell", "requested", ""),
    ]
    assert "audit.0002_chain" in entries[0]["request"]["applied"]
    assert entries[1]["request_id"] == entries[2]["request_id"]
    assert entries[1]["request"]["arguments"][:3] == ["--noinput", "--username", "ada"]
    assert {entry["actor_kind"] for entry in entries} == {"command"}
    assert SECRET not in told.stdout
