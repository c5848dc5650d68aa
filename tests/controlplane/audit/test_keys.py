"""Keys of the log that are lost, damaged or others, and heads that cannot be written."""

import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection

from controlplane.audit.heads import HeadWriter
from controlplane.audit.keys import KeyRing, KeyUnavailable
from controlplane.audit.models import AuditEntry
from controlplane.audit.reports import Kind
from controlplane.audit.verification import verify
from controlplane.audit.verifying import verify_on_record

from ..conftest import ACTOR
from .conftest import tampered


@pytest.fixture
def other_directory(settings, tmp_path) -> str:
    """Somebody forgot to say where the keys are."""
    settings.KVPLANE_AUDIT_KEYS_DIR = str(tmp_path / "elsewhere")
    return settings.KVPLANE_AUDIT_KEYS_DIR


def test_key__lost__nothing_is_recorded_and_none_is_made_anew(log, write, other_directory):
    with pytest.raises(KeyUnavailable, match="k1"):
        write()

    assert AuditEntry.objects.count() == len(log)
    assert not list(Path(other_directory).glob("*"))


def test_verify_audit__wrong_directory_of_keys__says_so_and_the_log_stays_whole(
    log, check, settings, other_directory, capsys
):
    own = settings.KVPLANE_AUDIT_KEYS_DIR
    with pytest.raises(CommandError, match="key k1") as caught:
        call_command("verify_audit")
    assert caught.value.returncode == 1

    settings.KVPLANE_AUDIT_KEYS_DIR = own
    assert AuditEntry.objects.count() == len(log)
    assert check().ok


@pytest.mark.parametrize("text", ["", "short"])
def test_key__file_is_damaged__is_refused(log, heads, tmp_path, text):
    (tmp_path / "hmac-k1.key").write_text(text)
    problem = verify(KeyRing(tmp_path), heads).problem

    assert problem is not None
    assert problem.kind is Kind.NO_KEY


def test_verify__last_entry_is_bad__is_named_though_that_cannot_be_recorded(log):
    tampered(("UPDATE audit_auditentry SET key_id = 'zz' WHERE id = %s", [log[-1].pk]))
    report = verify_on_record(actor=ACTOR, request_id="r")

    assert report.problem is not None
    assert (report.problem.entry, report.ok) == (log[-1].pk, False)
    assert AuditEntry.objects.count() == len(log)
    with pytest.raises(CommandError) as caught:
        call_command("verify_audit")
    assert caught.value.returncode == 1
    assert connection.is_usable()


def test_head__disk_is_full__is_not_called_written_and_leaves_no_half_line(
    log, heads, keys, check, write, monkeypatch
):
    write()
    (path,) = heads.glob("*")
    before = path.read_bytes()
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: really_write(descriptor, line[:10]))
    writer = HeadWriter(heads, keys)
    with pytest.raises(OSError, match="space"):
        writer.write()
    monkeypatch.undo()

    assert path.read_bytes() == before
    assert writer.write() is not None
    assert check().ok


def test_head__line_was_cut_by_a_power_cut__takes_no_other_along(log, heads, keys, check, write):
    (path,) = heads.glob("*")
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(whole[:20])
    write()
    HeadWriter(heads, keys).write()

    problem = check().problem
    assert problem is not None
    assert problem.kind is Kind.BAD_HEAD
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert check().heads == 2
    assert check().ok


def test_heads__number_beyond_all_numbers__is_unreadable(log, heads, check):
    (path,) = heads.glob("*")
    path.write_bytes(path.read_bytes().replace(b'"id":', b'"id":1e999,"x":'))

    problem = check().problem
    assert problem is not None
    assert problem.kind is Kind.BAD_HEAD


def test_record__key_is_unavailable__is_a_database_error(log, write, other_directory):
    with pytest.raises(DatabaseError):
        write()
