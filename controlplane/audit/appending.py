"""Putting entries at the end of the chain.

Entries take turns, because each is authenticated together with the one before. What is
recorded with a change goes along in the transaction of the change. What is recorded on
its own, a login or a denied call, goes along with whatever other threads of this process
have to record at that moment: one turn and one flush for all of them.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from django.db import DatabaseError, connections, router, transaction
from django.utils import timezone

from controlplane.audit import turns
from controlplane.audit.chain import mac_of, read_head
from controlplane.audit.entries import Encoded, moment
from controlplane.audit.keys import key_ring
from controlplane.audit.models import AuditEntry

_INSERT = "INSERT INTO audit_auditentry (id, key_id, previous, mac, document) VALUES "
_ROW = "(%s, %s, %s, %s, %s)"


@dataclass(frozen=True)
class Appended:
    """Where an entry stands in the chain, and all that it says, in canonical JSON."""

    id: int
    key_id: str
    previous: str
    mac: str
    at: str
    document: str


class EntryNotStored(DatabaseError):
    """The database said yes, and the entry is not there."""


class OutcomeUnclear(DatabaseError):
    """It is not known whether an entry is on record: the answer to the commit was lost."""


def append(encoded: Encoded) -> Appended:
    """Put the entry at the end of the chain, in the caller's transaction if there is
    one. Raises django.db.DatabaseError."""
    connection = connections[router.db_for_write(AuditEntry)]
    if connection.in_atomic_block:
        (appended,) = _insert([encoded])
        turns.settle_after_commit()
        return appended
    if not connection.get_autocommit():
        raise transaction.TransactionManagementError(
            "audit entries are written in atomic() or in autocommit mode"
        )
    return _gatherer.append(encoded)


def _write(entries: Sequence[Encoded]) -> list[Appended]:
    """Insert and commit, outside of a transaction. Nothing is on record if it raises
    django.db.DatabaseError, but for OutcomeUnclear."""
    is_inserted = False
    try:
        with transaction.atomic(using=router.db_for_write(AuditEntry)):
            written = _insert(entries)
            is_inserted = True
        turns.settle()
    except DatabaseError as error:
        if is_inserted:
            raise OutcomeUnclear(f"it may be on record, or not: {error}") from error
        raise
    return written


def _insert(entries: Sequence[Encoded]) -> list[Appended]:
    """When it is our turn, which ends with the transaction."""
    keys = key_ring()
    head = read_head(turns.begin())
    if head.id == 0:
        keys.make_hmac_key(head.next_key)
    # A clock that was set back must not put a later entry before an earlier one.
    at = max(moment(timezone.now()), head.at)
    previous, inserted = head.mac, []
    for number, encoded in enumerate(entries, head.id + 1):
        document = encoded.at(at)
        mac = mac_of(keys, document, number, head.next_key, previous)
        inserted.append(Appended(number, head.next_key, previous, mac, at, document.decode()))
        previous = mac
    with connections[router.db_for_write(AuditEntry)].cursor() as cursor:
        values = [(e.id, e.key_id, e.previous, e.mac, e.document) for e in inserted]
        cursor.execute(_INSERT + ", ".join([_ROW] * len(values)), list(chain(*values)))
        if cursor.rowcount != len(values):
            raise EntryNotStored("a trigger of somebody's kept an audit entry out of its table")
    return inserted


class _Waiting:
    """An entry, and the thread that wants it on record."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded
        self.woken = threading.Event()
        self.leads = False
        """Woken to write, for itself and all who wait."""
        self.written: Appended | None = None
        """Woken because somebody else wrote it."""
        self.is_left = False
        """Woken because writing all together failed, and nothing of it is on record."""


class _Gatherer:
    """One thread writes for all who wait, wakes them, and hands over to the first of
    those who came meanwhile."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As if nobody waited: the threads of a process do not come along in a fork."""
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._is_led = False

    def append(self, encoded: Encoded) -> Appended:
        """Raises django.db.DatabaseError."""
        mine = _Waiting(encoded)
        together: list[_Waiting] = []
        try:
            self._wait(mine)
            if mine.leads:
                self._take(together)
                _write_together(together)
        finally:
            # Also if this thread was interrupted: others rely on it.
            self._leave(mine, together)
        if mine.is_left:
            return _write([encoded])[0]
        if mine.written is None:
            raise OutcomeUnclear("it may be on record, or not: whoever wrote it was cut off")
        return mine.written

    def _wait(self, mine: _Waiting) -> None:
        with self._lock:
            self._waiting.append(mine)
            if not self._is_led:
                self._is_led = mine.leads = True
                mine.woken.set()
        mine.woken.wait()

    def _take(self, together: list[_Waiting]) -> None:
        with self._lock:
            together += self._waiting
            self._waiting = []

    def _leave(self, mine: _Waiting, together: list[_Waiting]) -> None:
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
            if mine.leads:
                self._is_led = bool(self._waiting)
                for first in self._waiting[:1]:
                    first.leads = True
                    first.woken.set()
        for one in together:
            one.woken.set()


def _write_together(together: Sequence[_Waiting]) -> None:
    """Raises django.db.DatabaseError if it is only one, and OutcomeUnclear."""
    try:
        written = _write([one.encoded for one in together])
    except OutcomeUnclear:
        raise
    except DatabaseError:
        if len(together) == 1:
            raise
        # Perhaps because of one of them: each is tried alone.
        for one in together:
            one.is_left = True
        return
    for one, entry in zip(together, written, strict=True):
        one.written = entry


_gatherer = _Gatherer()
os.register_at_fork(after_in_child=_gatherer.reset)
