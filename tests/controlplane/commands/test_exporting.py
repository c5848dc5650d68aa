"""`manage.py export_audit` and `verify_audit`."""

import json
import stat

import pytest
from django.db import DatabaseError

from controlplane.audit.models import AuditEntry
from tests.controlplane.commands.running import run, run_json

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _entries(fleet):
    fleet("w0")
    run("freeze", "enable", "--agent", "w0")


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_export__everything__is_every_entry_and_itself_on_record():
    numbers = list(AuditEntry.objects.order_by("id").values_list("pk", flat=True))

    finished = run("export_audit", "--reason", "for the auditor")

    assert finished.exit == 0
    # The last is that somebody asked for this.
    assert [line["id"] for line in lines(finished.out)][:-1] == numbers
    asked, done = AuditEntry.objects.filter(action="command.run").order_by("id")
    assert (asked.stage, done.stage) == ("requested", "completed")
    assert done.answer == {"entries": len(numbers) + 1}
    assert {asked.reason, done.reason} == {"for the auditor"}


def test_export__filters_and_csv__to_a_file_of_its_owner(tmp_path):
    file = tmp_path / "audit.csv"

    finished = run_json(
        "export_audit", "--format", "csv", "--action", "freeze.enable", "--output", str(file)
    )

    assert finished.document == {"entries": 2, "file": str(file)}
    rows = file.read_text().splitlines()
    assert len(rows) == 3
    assert rows[0].startswith("id,created_at,stage,action")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_export__file_that_exists__is_left_alone(tmp_path):
    file = tmp_path / "audit.jsonl"
    file.write_text("mine")

    finished = run("export_audit", "--output", str(file))

    assert (finished.exit, "--output" in finished.why) == (2, True)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    "arguments", [["--json"], ["--since", "x"], ["--text", "ab"], ["--status", "7"]]
)
def test_export__bad_argument__2_and_on_record(arguments):
    finished = run("export_audit", *arguments)

    assert (finished.exit, finished.out.startswith('{"at')) == (2, False)
    assert AuditEntry.objects.get(action="command.run").outcome == "failed"


def test_export__cannot_be_on_record__tells_nothing(monkeypatch, tmp_path):
    def fail(**fields):
        raise DatabaseError("disk full")

    monkeypatch.setattr("controlplane.audit.services.record", fail)
    file = tmp_path / "audit.jsonl"

    assert run("export_audit").out == ""
    assert run("export_audit", "--output", str(file)).exit == 6
    assert not file.exists()


def test_verify__archive_that_is_none__1_and_on_record(tmp_path):
    finished = run_json("verify_audit", "--archive", str(tmp_path / "none.jsonl.gz"))

    assert (finished.exit, finished.document["ok"]) == (1, False)
    assert AuditEntry.objects.get(action="command.run").outcome == "failed"


def test_verify__database_fails__6(monkeypatch):
    def fail(**fields):
        raise DatabaseError("gone")

    monkeypatch.setattr("controlplane.audit.management.verifying.verify_on_record", fail)

    assert run("verify_audit").exit == 6
