"""Entries of several threads at the same moment; whose turn it is, and when it is on disk."""

import os
import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import DatabaseError, connection, transaction

from controlplane.audit import appending, turns
from controlplane.audit.entries import Encoded
from controlplane.audit.models import AuditEntry
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
DEADLINE_SECONDS = 30.0
OTHERS = 5


class Writers:
    """Threads that each put one entry on record, while the first of them is held up."""

    def __init__(self, write: Callable[..., AuditEntry]) -> None:
        self._write = write
        self._threads: list[threading.Thread] = []
        self.held, self.may_go_on = threading.Event(), threading.Event()
        self.failed: list[str] = []

    def start(self, request_id: str) -> None:
        thread = threading.Thread(target=self._record, args=(request_id,))
        self._threads.append(thread)
        thread.start()

    def go_on(self) -> None:
        """Let the first one go on when all others wait, and wait until all are done."""
        eventually(lambda: len(appending._gatherer._waiting) >= len(self._threads) - 1)
        self.may_go_on.set()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()

    def _record(self, request_id: str) -> None:
        try:
            self._write(request_id=request_id)
        except DatabaseError:
            self.failed.append(request_id)
        finally:
            connection.close()


@pytest.fixture
def batches(monkeypatch) -> list[int]:
    """How many entries were written at once, transaction by transaction."""
    sizes: list[int] = []
    write = appending._write

    def counted(entries: list[Encoded]) -> list[appending.Appended]:
        sizes.append(len(entries))
        return write(entries)

    monkeypatch.setattr(appending, "_write", counted)
    return sizes


@pytest.fixture
def waited_for(write, monkeypatch) -> Iterator[Writers]:
    """The first entry is being written, and others wait; on leaving, all go on."""
    mac_of = appending.mac_of
    writers = Writers(write)

    def slow(keys, document, *place):
        if b'"first"' in document:
            writers.held.set()
            writers.may_go_on.wait(DEADLINE_SECONDS)
        if b'"bad"' in document:
            raise DatabaseError("this one cannot be written")
        return mac_of(keys, document, *place)

    monkeypatch.setattr(appending, "mac_of", slow)
    writers.start("first")
    assert writers.held.wait(DEADLINE_SECONDS)
    yield writers
    writers.may_go_on.set()


def test_record__others_come_meanwhile__are_written_at_once(waited_for, batches, check):
    for number in range(OTHERS):
        waited_for.start(f"other-{number}")
    waited_for.go_on()

    assert batches == [OTHERS]
    assert waited_for.failed == []
    report = check()
    assert report.problem is None
    assert report.entries == OTHERS + 1


def test_record__one_of_those_written_at_once_is_bad__the_others_are_on_record(
    waited_for, batches, check
):
    waited_for.start("bad")
    for number in range(OTHERS):
        waited_for.start(f"other-{number}")
    waited_for.go_on()

    assert batches[0] == OTHERS + 1
    assert waited_for.failed == ["bad"]
    assert check().problem is None
    on_record = set(AuditEntry.objects.values_list("request_id", flat=True))
    assert on_record == {"first", *(f"other-{number}" for number in range(OTHERS))}


def test_record__in_a_transaction__waits_for_the_database_not_for_other_threads(
    waited_for, write, monkeypatch
):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer: the transaction itself has to wait")
    with transaction.atomic():
        monkeypatch.setattr(turns, "_BEGIN", turns._BEGIN.replace("20s", "100ms"))
        with pytest.raises(DatabaseError, match="lock timeout"):
            write()
    waited_for.go_on()


def test_record__commit_is_lost_for_those_written_at_once__all_are_told_and_none_is_double(
    waited_for, batches, monkeypatch
):
    def broken() -> None:
        if AuditEntry.objects.count() > 1:
            raise DatabaseError("the connection is gone")

    monkeypatch.setattr(turns, "settle", broken)
    for number in range(OTHERS):
        waited_for.start(f"other-{number}")
    waited_for.go_on()

    assert batches == [OTHERS]
    assert sorted(waited_for.failed) == [f"other-{number}" for number in range(OTHERS)]
    assert AuditEntry.objects.count() == OTHERS + 1


def test_record__whoever_writes_for_all_is_interrupted__others_go_on(
    waited_for, write, monkeypatch
):
    def interrupted(together):
        monkeypatch.undo()
        raise KeyboardInterrupt

    waited_for.start("other")
    waited_for.go_on()
    monkeypatch.setattr(appending, "_write_together", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(request_id="interrupted")

    write(request_id="after")
    on_record = AuditEntry.objects.values_list("request_id", flat=True)
    assert sorted(on_record) == ["after", "first", "other"]


def test_record__in_a_process_that_was_forked_while_others_wrote__does_not_wait_for_them(
    waited_for, tmp_path
):
    told = tmp_path / "told"
    child = os.fork()
    if child == 0:
        told.write_text(str(appending._gatherer._is_led))
        os._exit(0)
    os.waitpid(child, 0)
    assert appending._gatherer._is_led
    waited_for.go_on()

    assert told.read_text() == "False"


def test_record__connection_without_autocommit__is_refused(write):
    transaction.set_autocommit(False)
    try:
        with pytest.raises(transaction.TransactionManagementError):
            write()
    finally:
        transaction.set_autocommit(True)


def test_record__somebody_hangs_in_its_turn__gives_up(write, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's own time limit is Django's setting")
    monkeypatch.setattr(turns, "_BEGIN", turns._BEGIN.replace("20s", "200ms"))
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({turns._LOCK})")
        with pytest.raises(DatabaseError, match="lock timeout"):
            write()
    finally:
        other.close()
    write()


@pytest.mark.parametrize("around", ["nothing", "a transaction"])
def test_record__on_postgresql__is_on_disk_when_it_returns_and_not_flushed_in_its_turn(
    write, monkeypatch, around
):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite flushes with the commit")
    seen: list[str] = []
    settle = turns.settle

    def noted() -> None:
        seen.append(_value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
        settle()

    monkeypatch.setattr(turns, "settle", noted)
    if around == "nothing":
        write()
    else:
        with transaction.atomic():
            write()
            assert _value("SHOW synchronous_commit") == "off"

    assert seen == [0]
    assert _value("SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()")
    assert _value("SHOW synchronous_commit") == "on"


def test_sign__head__is_on_disk_before_it_is_told(write, sign, heads, monkeypatch):
    write()
    told = []
    monkeypatch.setattr(turns, "settle", lambda: told.append(list(heads.glob("*"))))

    sign()

    assert told == [[]]
    assert len(list(heads.glob("*"))) == 1


def _value(query: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]
