"""Archiving: what leaves the table lies in a signed file, and the rest still verifies."""

import gzip
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from controlplane.audit import archiving, inspection
from controlplane.audit.archives import verify_archive
from controlplane.audit.archiving import AlreadyArchiving, Archived, archive, last_before
from controlplane.audit.models import AuditEntry
from controlplane.audit.reports import Kind
from controlplane.audit.rotating import rotate_key

from ..conftest import ACTOR
from .conftest import tampered

DROP = "DELETE FROM audit_auditentry WHERE id = %s"


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def move(store, keys):
    """Archives the entries up to a number."""

    def run(until: int) -> Archived:
        done = archive(store, keys, until, actor=ACTOR, reason="a year is over")
        assert done is not None
        return done

    return run


def numbers() -> list[int]:
    return list(AuditEntry.objects.order_by("pk").values_list("pk", flat=True))


def test_archive__older_entries__are_in_the_file_and_first_and_latest_of_each_stay(
    log, move, store, check
):
    first = log[0].pk
    done = move(log[8].pk)

    assert (done.count, done.kept, done.deleted) == (9, 6, 3)
    # Three agents in turn: the first three entries and the last three up to there.
    assert numbers()[:9] == [*range(first, first + 3), *range(first + 6, first + 12)]
    with gzip.open(store / done.name) as file:
        lines = [json.loads(line) for line in file]
    assert [line["id"] for line in lines] == list(range(first, first + 9))
    assert lines[4]["entry"] == log[4].content
    report = check()
    assert report.problem is None
    assert (report.archived_up_to, report.kept) == (log[8].pk, 6)


def test_archive__checkpoint__names_the_file_its_digest_and_why(log, move, store):
    done = move(log[8].pk)

    requested, completed = AuditEntry.objects.filter(action="audit.archive").order_by("pk")
    assert requested.request["sha256"] == archiving.digest_of(store / done.name)
    assert requested.request["archive"] == done.name
    assert requested.reason == "a year is over"
    assert completed.answer == {"deleted": 3}


def test_archive__created_object__keeps_the_entry_that_created_it_last(db, write, move):
    for action in ("agent.register", "agent.update", "agent.remove"):
        write(0, action=action)
    again = write(0, action="agent.register")
    write(0, action="agent.update")
    latest = write(0, action="agent.update")
    first = numbers()[0]
    move(latest.pk)

    assert numbers()[:3] == [first, again.pk, latest.pk]


def test_archive__twice__each_file_goes_on_where_the_one_before_ended(
    log, move, write, check, store, keys, heads
):
    one = move(log[5].pk)
    write()
    other = move(log[9].pk)

    assert (one.last + 1, other.first) == (other.first, log[6].pk)
    assert check().problem is None
    for done in (one, other):
        assert verify_archive(store / done.name, keys, heads).problem is None


def test_archive__again_with_nothing_new__does_nothing(log, move, store, keys):
    move(log[5].pk)
    before = numbers()

    assert archive(store, keys, log[5].pk, actor=ACTOR, reason="") is None
    assert numbers() == before


def test_archive__breaks_off_while_deleting__next_run_finishes_it(
    log, move, store, keys, check, monkeypatch
):
    def fail(until: int):
        raise OSError("power")
        yield

    with monkeypatch.context() as patch, pytest.raises(OSError, match="power"):
        patch.setattr(archiving, "_delete", fail)
        move(log[8].pk)
    assert check().problem is None
    assert inspection.faults(connection) == []

    assert archive(store, keys, log[8].pk, actor=ACTOR, reason="") is None
    assert len(numbers()) == 6 + 3 + 2
    assert check().problem is None


def test_archive__while_another_runs__is_refused(log, store, keys):
    store.mkdir()
    with archiving._alone(store), pytest.raises(AlreadyArchiving):
        archive(store, keys, log[5].pk, actor=ACTOR, reason="")


def test_archive__key_rotated_in_it__rest_verifies(log, write, move, keys, check, store, heads):
    rotate_key(keys, actor=ACTOR, reason="")
    last = write()
    write()
    done = move(last.pk)

    assert check().problem is None
    assert verify_archive(store / done.name, keys, heads).ok


@pytest.mark.parametrize("place", [0, 3, 5])
def test_verify__kept_entry_is_dropped__is_found(log, move, check, place):
    move(log[8].pk)
    tampered((DROP, [numbers()[place]]))
    problem = check().problem

    assert problem is not None
    assert problem.kind is Kind.MISSING


def test_verify__kept_entry_is_changed__names_it(log, move, check):
    move(log[8].pk)
    changed = "UPDATE audit_auditentry SET document = replace(document, 'worker-1', 'worker-9')"
    tampered((f"{changed} WHERE id = %s", [log[1].pk]))
    problem = check().problem

    assert problem is not None
    assert (problem.kind, problem.entry) == (Kind.CHANGED, log[1].pk)


def test_verify__checkpoint_is_dropped__is_found(log, move, check):
    move(log[8].pk)
    tampered((DROP, [log[11].pk + 1]))

    assert check().problem is not None


class TestFile:
    """What somebody can do to an archive."""

    @pytest.fixture
    def path(self, log, move, store) -> Path:
        return store / move(log[9].pk).name

    def problem(self, path, keys, heads) -> Kind | None:
        found = verify_archive(path, keys, heads).problem
        return None if found is None else found.kind

    def test_as_written__is_well_and_compared_with_heads(self, log, store, move, keys, heads):
        report = verify_archive(store / move(log[11].pk).name, keys, heads)

        assert report.problem is None
        assert (report.entries, report.heads, report.signed_up_to) == (12, 1, log[11].pk)

    @pytest.mark.parametrize("place", [0, 12, 40, 200, -5])
    def test_any_byte_changed__is_found(self, path, keys, heads, place):
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

        assert self.problem(path, keys, heads) is Kind.BAD_ARCHIVE

    def test_packed_anew_with_another_digest_in_the_manifest__is_found(self, path, keys, heads):
        with gzip.open(path) as file:
            changed = file.read().replace(b"worker-1", b"worker-9")
        path.write_bytes(gzip.compress(changed))
        beside = archiving.manifest_path(path)
        manifest = json.loads(beside.read_text())
        manifest["sha256"] = archiving.digest_of(path)
        beside.write_text(json.dumps(manifest))

        assert self.problem(path, keys, heads) is Kind.BAD_ARCHIVE

    def test_manifest_is_gone__is_found(self, path, keys, heads):
        archiving.manifest_path(path).unlink()

        assert self.problem(path, keys, heads) is Kind.BAD_ARCHIVE

    def test_manifest__nested_without_end__is_bad(self, path, keys, heads):
        archiving.manifest_path(path).write_text("[" * 100_000)

        assert self.problem(path, keys, heads) is Kind.BAD_ARCHIVE

    def test_archived_by_somebody_with_the_keys__log_names_another_digest(
        self, path, keys, heads, tmp_path
    ):
        import base64

        with gzip.open(path) as file:
            path.write_bytes(gzip.compress(file.read(), 1))
        beside = archiving.manifest_path(path)
        manifest = json.loads(beside.read_text())
        manifest["sha256"] = archiving.digest_of(path)
        signature = keys.sign(archiving.signed_part(manifest))
        manifest["signature"] = base64.b64encode(signature).decode()
        beside.write_text(json.dumps(manifest))
        found = verify_archive(path, keys, heads).problem

        assert found is not None
        assert "names another digest" in found.message

    def test_command__archive__is_checked(self, path, settings, heads, capsys):
        settings.KVPLANE_AUDIT_HEADS_DIR = str(heads)
        call_command("verify_audit", archive=path)
        assert "10 entries" in capsys.readouterr().out

        path.write_bytes(b"")
        with pytest.raises(CommandError) as caught:
            call_command("verify_audit", archive=path)
        assert caught.value.returncode == 1


@pytest.fixture
def _installed(settings, heads, store) -> None:
    settings.KVPLANE_AUDIT_HEADS_DIR = str(heads)
    settings.KVPLANE_AUDIT_ARCHIVE_DIR = str(store)


@pytest.mark.usefixtures("_installed")
class TestCommand:
    """`manage.py archive_audit`."""

    def test_dry_run__says_and_does_nothing(self, log, capsys):
        call_command("archive_audit", older_than=0, dry_run=True)

        assert "12 entries would be archived" in capsys.readouterr().out
        assert len(numbers()) == 12

    def test_older_than__archives_and_says_where(self, log, store, capsys, check):
        call_command("archive_audit", older_than=0, reason="tidy", output=store)

        assert "12 entries" in capsys.readouterr().out
        assert AuditEntry.objects.filter(action="audit.archive", reason="tidy").count() == 2
        assert check().ok

    def test_nothing_that_old__says_so(self, log, capsys, store):
        call_command("archive_audit", older_than=1, output=store)

        assert "nothing to archive" in capsys.readouterr().out

    def test_tampered_log__is_not_archived(self, log, store):
        tampered((DROP, [log[3].pk]))
        with pytest.raises(CommandError, match="not what was written") as caught:
            call_command("archive_audit", older_than=0, output=store)

        assert caught.value.returncode == 1
        # All that was left, and that somebody tried.
        assert len(numbers()) == 12
        assert AuditEntry.objects.latest("id").action == "command.run"

    def test_bad_days__is_refused(self, log):
        with pytest.raises(CommandError, match="--older-than"):
            call_command("archive_audit", older_than=-1)


def test_last_before__moment__is_the_entry_before_it(log):
    assert last_before(log[5].created_at) == log[4].pk
    assert last_before(log[0].created_at) == 0
    assert last_before(timezone.now()) == log[11].pk
