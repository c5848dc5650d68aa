"""Whatever is done to the table, verifying says so and names the first bad entry."""

import json
from collections.abc import Callable

import pytest
import rfc8785
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.audit import chain
from controlplane.audit.archiving import archive
from controlplane.audit.models import AuditEntry
from controlplane.audit.reports import Kind, Report
from controlplane.audit.rotating import rotate_key
from controlplane.audit.stored import rows_after
from controlplane.audit.verification import verify

from ..conftest import ACTOR
from .conftest import COLUMNS, stored_rows, tampered, undone

MANY = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_ADD = (
    "INSERT INTO audit_auditentry (id, key_id, previous, mac, document) VALUES (%s, %s, %s, %s, %s)"
)
_DROP = "DELETE FROM audit_auditentry WHERE id = %s"


def test_verify__empty_log__is_well(db, check):
    report = check()

    assert report.ok
    assert (report.entries, report.first, report.last) == (0, 0, 0)


def test_verify__log_as_written__is_well(log, check):
    report = check()

    assert report.problem is None
    assert (report.entries, report.last - report.first) == (12, 11)
    assert (report.heads, report.signed_up_to) == (1, log[-1].pk)


def test_entries__numbers_and_macs__follow_each_other_without_gaps(log):
    rows = stored_rows()

    assert [row[0] for row in rows] == list(range(rows[0][0], rows[0][0] + 12))
    assert [row[2] for row in rows] == [chain.GENESIS, *(row[3] for row in rows[:-1])]
    assert all(rfc8785.dumps(json.loads(row[4])) == row[4].encode() for row in rows)


@MANY
@given(data=st.data())
def test_verify__any_byte_of_any_row_is_flipped__names_that_row(log, check, data):
    row = data.draw(st.sampled_from(stored_rows()))
    column = data.draw(st.sampled_from(COLUMNS[1:]))
    value = row[COLUMNS.index(column)].encode()
    place = data.draw(st.integers(0, len(value) - 1))
    flipped = bytearray(value)
    flipped[place] ^= data.draw(st.integers(1, 255))
    with undone():
        if not _store(column, bytes(flipped), row[0]):
            return
        report = check()
        assert report.problem is not None
        assert report.problem.entry == row[0]


def _store(column: str, value: bytes, number: int) -> bool:
    """Whether the database can hold such bytes at all: PostgreSQL no text that is not
    UTF-8, neither a document that is no JSON."""
    text = "CAST(%s AS TEXT)" if connection.vendor == "sqlite" else "convert_from(%s, 'UTF8')"
    statement = f"UPDATE audit_auditentry SET {column} = {text} WHERE id = %s"
    try:
        with transaction.atomic():
            tampered((statement, [value, number]))
    except DatabaseError:
        return False
    return True


@MANY
@given(data=st.data())
def test_verify__rows_are_dropped__says_the_first_missing(log, check, data):
    numbers = [entry.pk for entry in log]
    dropped = data.draw(st.sets(st.sampled_from(numbers), min_size=1))
    with undone():
        tampered(*((_DROP, [number]) for number in dropped))
        problem = check().problem

    assert problem is not None
    if min(dropped) < max(set(numbers) - dropped, default=0):
        assert (problem.kind, problem.entry) == (Kind.MISSING, min(dropped))
    else:
        assert (problem.kind, problem.entry) == (Kind.CUT, numbers[-1])


@MANY
@given(data=st.data())
def test_verify__two_rows_are_swapped__is_found(log, check, data):
    rows = stored_rows()
    one, other = data.draw(st.lists(st.sampled_from(rows), min_size=2, max_size=2, unique=True))
    with undone():
        tampered(
            (_DROP, [one[0]]),
            (_DROP, [other[0]]),
            (_ADD, [one[0], *other[1:]]),
            (_ADD, [other[0], *one[1:]]),
        )
        problem = check().problem

    assert problem is not None
    assert problem.entry == min(one[0], other[0])


@MANY
@given(data=st.data())
def test_verify__a_row_is_put_in_between__is_found(log, check, data):
    rows = stored_rows()
    copied = data.draw(st.sampled_from(rows))
    place = data.draw(st.integers(0, len(rows) - 1))
    later = rows[place:]
    with undone():
        tampered(
            *((_DROP, [row[0]]) for row in later),
            (_ADD, [rows[place][0], *copied[1:]]),
            *((_ADD, [row[0] + 1, *row[1:]]) for row in later),
        )
        problem = check().problem

    assert problem is not None
    assert problem.entry in (rows[place][0], rows[place][0] + 1)


@MANY
@given(kept=st.integers(0, 11))
def test_verify__end_is_cut_off__signed_head_tells(log, check, kept):
    with undone():
        tampered(*((_DROP, [entry.pk]) for entry in log[kept:]))
        problem = check().problem

    assert problem is not None
    assert (problem.kind, problem.entry) == (Kind.CUT, log[-1].pk)


def test_verify__rewritten_by_somebody_with_the_key__signed_head_tells(log, check, keys):
    changed = []
    previous = chain.GENESIS
    for number, key_id, _, _, document in stored_rows():
        other = document.replace("worker-1", "worker-9").encode()
        mac = chain.mac_of(keys, other, number, key_id, previous)
        changed.append((number, key_id, previous, mac, other.decode()))
        previous = mac
    tampered(("DELETE FROM audit_auditentry", []), *((_ADD, list(row)) for row in changed))
    problem = check().problem

    assert problem is not None
    assert (problem.kind, problem.entry) == (Kind.REWRITTEN, log[-1].pk)


@MANY
@given(data=st.data())
def test_verify__any_byte_of_a_head_is_flipped__is_found(log, check, heads, data):
    (path,) = heads.glob("*.jsonl")
    told = path.read_bytes()
    place = data.draw(st.integers(0, len(told) - 2))
    changed = bytearray(told)
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(changed)
        problem = check().problem
    finally:
        path.write_bytes(told)

    assert problem is not None
    assert problem.kind in (Kind.BAD_HEAD, Kind.NO_KEY)


@pytest.fixture
def interfered(write, sign, keys, heads) -> Callable[[Callable[[], object]], Report]:
    """Verifies a log of some length, while something is done to it once."""
    for _ in range(600):
        write()
    sign()

    def run(interfere: Callable[[], object]) -> Report:
        rest = [interfere]

        def progress(entries: int) -> None:
            while rest:
                rest.pop()()

        report = verify(keys, heads, progress)
        assert rest == []
        return report

    return run


def test_verify__entries_while_it_looks__are_for_the_next_time(log, interfered, write, sign):
    def interfere() -> None:
        write()
        sign()

    report = interfered(interfere)

    assert report.problem is None
    assert report.last == report.signed_up_to == AuditEntry.objects.count() - 1


def test_verify__key_is_rotated_while_it_looks__is_no_problem(log, interfered, write, keys, check):
    def interfere() -> None:
        rotate_key(keys, actor=ACTOR, reason="yearly")
        write()

    assert interfered(interfere).problem is None
    assert check().problem is None


def test_verify__entries_are_archived_while_it_looks__is_no_problem(
    log, interfered, keys, tmp_path
):
    until = log[0].pk + 500
    report = interfered(lambda: archive(tmp_path, keys, until, actor=ACTOR, reason=""))

    assert report.problem is None
    assert report.archived_up_to == until


def test_rotated_key__entries_before_and_after__verify(log, check, write, sign, keys):
    rotate_key(keys, actor=ACTOR, reason="yearly")
    rotate_key(keys, actor=ACTOR, reason="leaked")
    last = write()
    sign()

    assert (last.key_id, check().ok) == ("k3", True)


def test_rotated_key__goes_on_with_the_old_one__is_found(log, check, write, keys):
    rotation = rotate_key(keys, actor=ACTOR, reason="leaked")
    document = rfc8785.dumps(write().content)
    mac = chain.mac_of(keys, document, rotation.pk + 1, "k1", rotation.mac)
    row = [rotation.pk + 1, "k1", rotation.mac, mac, document.decode()]
    tampered((_DROP, [rotation.pk + 1]), (_ADD, row))
    problem = check().problem

    assert problem is not None
    assert (problem.kind, problem.entry) == (Kind.WRONG_KEY, rotation.pk + 1)


def test_rotated_key__its_file_is_gone__says_so(log, check, write, keys):
    rotation = rotate_key(keys, actor=ACTOR, reason="")
    write()
    (keys.directory / "hmac-k2.key").unlink()
    keys._hmac_keys.clear()
    try:
        problem = check().problem
    finally:
        keys._hmac_keys.clear()

    assert problem is not None
    assert (problem.kind, problem.entry) == (Kind.NO_KEY, rotation.pk)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditentry SET document = '{}'",
        "UPDATE audit_auditentry SET mac = mac WHERE id > 0",
        "DELETE FROM audit_auditentry",
        "DELETE FROM audit_auditentry WHERE id = (SELECT max(id) FROM audit_auditentry)",
        "INSERT INTO audit_auditentry (id, key_id, previous, mac, document) "
        "SELECT id, key_id, previous, mac, '{}' FROM audit_auditentry WHERE true "
        "ON CONFLICT (id) DO UPDATE SET document = '{}'",
        "INSERT INTO audit_auditentry (id, key_id, previous, mac, document) "
        "SELECT min(id) - 1, 'k1', '', '', '{}' FROM audit_auditentry",
    ],
)
def test_table__raw_sql_that_changes_it__is_refused(log, check, statement):
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)

    assert check().ok


def test_table__replaced_or_truncated__is_refused(log, check):
    statement = (
        "TRUNCATE audit_auditentry"
        if connection.vendor == "postgresql"
        else "INSERT OR REPLACE INTO audit_auditentry (id, key_id, previous, mac, document) "
        "SELECT id, key_id, previous, mac, '{}' FROM audit_auditentry"
    )
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)

    assert check().ok


def test_rows_after__pages__hold_every_row_once(log, write):
    for number in range(1100):
        write(number, reason="long" * 500 if number % 7 == 0 else "")

    numbers = [row[0] for row in rows_after(log[4].pk)]
    assert numbers == list(range(log[5].pk, log[0].pk + 1112))


@pytest.fixture
def _installed(settings, heads) -> None:
    settings.KVPLANE_AUDIT_HEADS_DIR = str(heads)


@pytest.mark.usefixtures("_installed")
class TestDoors:
    """The command and the API."""

    def test_command__all_is_well__says_so_and_is_on_record(self, log, capsys):
        call_command("verify_audit")

        assert "The log is what was written: 12 entries" in capsys.readouterr().out
        entry = AuditEntry.objects.get(action="audit.verify")
        assert (entry.outcome, entry.actor_kind) == ("succeeded", "command")
        assert entry.answer["entries"] == 12

    def test_command__tampered__names_the_entry_and_exits_with_1(self, log, capsys):
        tampered((_DROP, [log[3].pk]))
        with pytest.raises(CommandError) as caught:
            call_command("verify_audit", json=True)

        assert caught.value.returncode == 1
        assert f"Entry {log[3].pk} is missing" in str(caught.value)
        assert json.loads(capsys.readouterr().out)["problem"]["entry"] == log[3].pk

    def test_command__cannot_be_checked__exits_with_2(self, log, heads, monkeypatch):
        def fail(*_: object) -> None:
            raise OSError("no such device")

        monkeypatch.setattr("controlplane.audit.verification.read_heads", fail)
        with pytest.raises(CommandError) as caught:
            call_command("verify_audit")

        assert caught.value.returncode == 2

    def test_api__admin_verifies__everybody_reads_what_was_found(self, log, admin_api, viewer_api):
        url = "/api/v1/audit/verification"
        assert viewer_api.get(url).json() == {
            "checked_at": None,
            "checked_by": None,
            "result": None,
        }
        assert viewer_api.post(url).status_code == 403
        found = admin_api.post(url)

        assert found.status_code == 200
        assert found.json()["ok"] is True
        latest = viewer_api.get(url).json()
        assert latest["checked_by"] == "admin/tests"
        assert latest["result"]["last"] == found.json()["last"]

    def test_api__tampered__tells_the_first_bad_entry(self, log, admin_api):
        tampered((_DROP, [log[3].pk]))
        found = admin_api.post("/api/v1/audit/verification").json()

        assert found["ok"] is False
        assert found["problem"]["kind"] == "missing"
        assert found["problem"]["entry"] == log[3].pk
