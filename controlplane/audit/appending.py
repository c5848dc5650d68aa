"""Putting entries at the end of the chain.

Entries take turns, because each is authenticated together with the one before. What is
recorded with a change goes along in the transaction of the change. What is recorded on
its own, a login or a denied call, goes along with whatever other threads of this process
have to record at that moment: one turn and one flush for all of them.
"""

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


def append(encoded: Encoded) -> Appended:
    """Put the entry at the end of the chain, in the caller's transaction if there is
    one. Raises django.db.DatabaseError."""
    if connections[router.db_for_write(AuditEntry)].in_atomic_block:
        return _write([encoded])[0]
    return _gatherer.append(encoded)


def _write(entries: Sequence[Encoded]) -> list[Appended]:
    using = router.db_for_write(AuditEntry)
    keys = key_ring()
    with transaction.atomic(using=using, savepoint=False):
        head = read_head(turns.begin())
        # A clock that was set back must not put a later entry before an earlier one.
        at = max(moment(timezone.now()), head.at)
        previous, written = head.mac, []
        for number, encoded in enumerate(entries, head.id + 1):
            document = encoded.at(at)
            mac = mac_of(keys, document, number, head.next_key, previous)
            entry = Appended(number, head.next_key, previous, mac, at, document.decode())
            written.append(entry)
            previous = mac
        with connections[using].cursor() as cursor:
            values = [(e.id, e.key_id, e.previous, e.mac, e.document) for e in written]
            cursor.execute(_INSERT + ", ".join([_ROW] * len(values)), list(chain(*values)))
        turns.settle_after_commit()
    return written


class _Waiting:
    """An entry, and the thread that wants it on record."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded
        self.woken = threading.Event()
        self.leads = False
        """Woken to write, for itself and all who wait."""
        self.written: Appended | None = None
        """Woken because somebody else wrote it; None if that failed."""


class _Gatherer:
    """One thread writes for all who wait, wakes them, and hands over to the first of
    those who came meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._is_led = False

    def append(self, encoded: Encoded) -> Appended:
        """Raises django.db.DatabaseError."""
        mine = _Waiting(encoded)
        self._wait(mine)
        if mine.leads:
            self._lead()
        if mine.written is None:
            # All together failed, perhaps because of somebody else's entry.
            return _write([encoded])[0]
        return mine.written

    def _lead(self) -> None:
        """Write for all who wait."""
        together = self._take()
        try:
            written = _write([one.encoded for one in together])
            for one, entry in zip(together, written, strict=True):
                one.written = entry
        except DatabaseError:
            if len(together) == 1:
                raise
        finally:
            self._hand_over(together)

    def _wait(self, mine: _Waiting) -> None:
        with self._lock:
            if not self._is_led:
                self._is_led = mine.leads = True
                mine.woken.set()
            self._waiting.append(mine)
        try:
            mine.woken.wait()
        finally:
            self._leave(mine)

    def _leave(self, mine: _Waiting) -> None:
        """An interrupted thread must not be handed the lead."""
        with self._lock:
            if not mine.woken.is_set() and mine in self._waiting:
                self._waiting.remove(mine)

    def _take(self) -> list[_Waiting]:
        with self._lock:
            taken, self._waiting = self._waiting, []
        return taken

    def _hand_over(self, together: list[_Waiting]) -> None:
        with self._lock:
            self._is_led = bool(self._waiting)
            for first in self._waiting[:1]:
                first.leads = True
                first.woken.set()
        for one in together:
            one.woken.set()


_gatherer = _Gatherer()
