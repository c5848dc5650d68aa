"""Django's own commands, run as a person does, and what of them is on record."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

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


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`manage.py` on a database file of its own."""

    def run_command(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=clean_environment(KVPLANE_DATA_DIR=str(tmp_path), **more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run_command


def recorded(run: Run) -> list[dict[str, Any]]:
    """What is on record of commands, the command that asks for it included."""
    told = run("shell", "-c", f"password = '{SECRET}'; {LIST}")
    assert told.returncode == 0, told.stderr
    assert SECRET not in told.stdout
    entries: list[dict[str, Any]] = json.loads(told.stdout.splitlines()[-1])
    return entries


def in_short(entries: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(e["target"].removeprefix("command:"), e["stage"], e["outcome"]) for e in entries]


def in_the_way(directory: Path) -> None:
    """A table that the last migrations want to make is there already."""
    (file,) = directory.glob("*.sqlite3")
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE statistics_chunkstatisticssnapshot (id integer)")
        database.commit()


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
    assert run("axes_reset_username", "ada").returncode == 0

    entries = recorded(run)
    assert in_short(entries) == [
        ("migrate", "event", "succeeded"),
        ("createsuperuser", "requested", ""),
        ("createsuperuser", "completed", "succeeded"),
        ("loaddata", "requested", ""),
        ("loaddata", "completed", "failed"),
        ("axes_reset_username", "requested", ""),
        ("axes_reset_username", "completed", "succeeded"),
        ("shell", "requested", ""),
    ]
    assert "audit.0002_chain" in entries[0]["request"]["applied"]
    assert entries[1]["request_id"] == entries[2]["request_id"]
    assert entries[1]["request"]["arguments"][:3] == ["--noinput", "--username", "ada"]
    assert {entry["actor_kind"] for entry in entries} == {"command"}


def test_migrate__fails_half_way_on_a_new_database__what_was_applied_is_on_record(
    run: Run, tmp_path: Path
) -> None:
    assert run("migrate", "--check").returncode == 1
    in_the_way(tmp_path)
    assert run("migrate", "-v0").returncode != 0

    migrated, _ = recorded(run)
    assert in_short([migrated]) == [("migrate", "event", "failed")]
    assert "audit.0002_chain" in migrated["request"]["applied"]
    assert not any(name.startswith("statistics") for name in migrated["request"]["applied"])


def test_migrate__there_is_a_log__is_on_record_before_and_after(run: Run, tmp_path: Path) -> None:
    assert run("migrate", "-v0", "audit").returncode == 0
    in_the_way(tmp_path)
    assert run("migrate", "-v0").returncode != 0
    assert run("migrate", "-v0", "fleet", "zero").returncode == 0

    entries = recorded(run)
    assert in_short(entries[:-1]) == [
        ("migrate", "event", "succeeded"),
        ("migrate", "requested", ""),
        ("migrate", "completed", "failed"),
        ("migrate", "requested", ""),
        ("migrate", "completed", "succeeded"),
    ]
    _, asked, failed, back, done = (entry["request"] for entry in entries[:-1])
    assert set(failed["applied"]) < set(asked["pending"])
    assert "statistics.0001_initial" in asked["pending"]
    assert back["arguments"] == ["-v0", "fleet", "zero"]
    assert "fleet.0001_initial" in done["unapplied"]


def test_migrate__cannot_be_put_on_record__nothing_is_applied(run: Run, tmp_path: Path) -> None:
    assert run("migrate", "-v0", "audit").returncode == 0
    (tmp_path / "no-directory").write_text("")
    refused = run("migrate", "-v0", KVPLANE_AUDIT_KEYS_DIR=str(tmp_path / "no-directory"))

    assert refused.returncode == 1
    assert "'migrate' was not run, because it could not be put on record" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert in_short(recorded(run)[:-1]) == [("migrate", "event", "succeeded")]
    assert "[ ] 0001_initial" in run("showmigrations", "fleet").stdout
