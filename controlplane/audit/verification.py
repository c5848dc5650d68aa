"""Checking the whole log: the chain, the signed heads, the database's guards.

Entries are read in pages by their number and forgotten (`stored.py`), so that memory does
not grow with the log, and nothing is locked.
"""

import hashlib
import hmac
from binascii import hexlify
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn

from django.db import DatabaseError, connections, router

from controlplane.audit import inspection
from controlplane.audit.chain import FIRST_KEY, GENESIS, KEY_TARGET, ROTATE
from controlplane.audit.heads import SignedHead, UnreadableHead, read_heads
from controlplane.audit.keys import KeyRing, KeyUnavailable
from controlplane.audit.models import AuditEntry
from controlplane.audit.reports import Kind, Problem, Report
from controlplane.audit.stored import Row, rows_after

ARCHIVE = "audit.archive"
_TOLD_EVERY = 250
_HEADS_AT_ONCE = 500
Progress = Callable[[int], None]


class Found(Exception):
    """Something is wrong."""

    def __init__(self, kind: Kind, entry: int | None, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(kind, entry, message)


@dataclass(frozen=True)
class Checkpoint:
    """From where on the chain is unbroken: the end of what was archived, and what of it
    was kept. Nothing is archived: number 0 and the mac before the first entry."""

    number: int = 0
    mac: str = GENESIS
    kept: int = 0
    kept_digest: str = hashlib.sha256().hexdigest()
    entry: int = 0
    """The number of the entry that says so."""
    is_done: bool = True
    """Whether what was archived is deleted already."""


def verify(keys: KeyRing, heads: Path, progress: Progress = lambda entries: None) -> Report:
    """Look at everything that is there now; what is wrong first stands in the report.
    `progress` gets the number of entries so far. Raises django.db.DatabaseError and
    OSError."""
    while True:
        check = _Check(keys, heads, progress)
        problem = None
        try:
            check.run()
        except Found as found:
            problem = found.problem
        if problem is None or not check.was_archived_meanwhile():
            break
    return Report(
        entries=check.entries,
        first=check.first,
        last=check.last,
        archived_up_to=check.archived_up_to,
        kept=check.kept,
        heads=check.heads,
        signed_up_to=check.signed_up_to,
        problem=problem,
    )


def check_row(keys: KeyRing, row: Row) -> None:
    """Raises Found unless the row fits its own mac."""
    number, key_id, previous, mac, document = row
    key = _key(keys, key_id, number)
    if _mac(key, number, key_id, previous, document) != mac:
        raise Found(
            Kind.CHANGED,
            number,
            f"Entry {number} was changed: it does not fit its authentication code.",
        )


def _mac(key: bytes, number: int, key_id: bytes, previous: bytes, document: bytes) -> bytes:
    data = b'{"entry":%b,"id":%d,"key":"%b","previous":"%b"}' % (
        document,
        number,
        key_id,
        previous,
    )
    return hexlify(hmac.digest(key, data, "sha256"))


def latest_checkpoint() -> Checkpoint:
    """What the log says about its beginning."""
    archived = AuditEntry.objects.filter(action=ARCHIVE)
    entry = archived.filter(stage="requested").order_by("-id").first()
    if entry is None:
        return Checkpoint()
    told = entry.request
    done = archived.filter(stage="completed", request_id=entry.request_id).exists()
    return Checkpoint(
        number=int(told["last"]),
        mac=str(told["last_mac"]),
        kept=int(told["kept"]["count"]),
        kept_digest=str(told["kept"]["sha256"]),
        entry=entry.pk,
        is_done=done,
    )


class _Check:
    def __init__(self, keys: KeyRing, heads: Path, progress: Progress) -> None:
        self._keys = keys
        self._heads = heads
        self._progress = progress
        self.entries = self.first = self.last = self.archived_up_to = 0
        self.kept = self.heads = self.signed_up_to = 0
        self._until = 0
        self._checkpoint: Checkpoint | None = None

    def was_archived_meanwhile(self) -> bool:
        """Whether entries left the table while they were looked at."""
        try:
            return self._checkpoint is not None and latest_checkpoint() != self._checkpoint
        except (ValueError, TypeError, KeyError, DatabaseError):
            return False

    def run(self) -> None:
        """Raises Found."""
        checkpoint, rotations = self._read_landmarks()
        self.archived_up_to = checkpoint.number
        self._check_kept(checkpoint)
        self._check_chain(checkpoint, rotations)
        self._check_heads(checkpoint)
        self._check_guards()

    def _read_landmarks(self) -> tuple[Checkpoint, dict[int, bytes]]:
        try:
            self._checkpoint = checkpoint = latest_checkpoint()
            # What is added from now on, another key among it, is for the next time.
            self._until = _last_number()
            return checkpoint, _rotations()
        except (ValueError, TypeError, KeyError, DatabaseError):
            # A document that is no JSON any more makes the database's own columns fail.
            for row in rows_after(0):
                check_row(self._keys, row)
            raise

    def _check_kept(self, checkpoint: Checkpoint) -> None:
        """What archiving left stands alone, and all of it is there."""
        digest = hashlib.sha256()
        for row in rows_after(0, checkpoint.number):
            check_row(self._keys, row)
            digest.update(kept_line(row[0], row[3]))
            self.kept += 1
            self._count()
        if not checkpoint.is_done:
            return
        if (self.kept, digest.hexdigest()) != (checkpoint.kept, checkpoint.kept_digest):
            raise Found(
                Kind.MISSING,
                None,
                f"Of the entries up to {checkpoint.number}, which were archived, "
                f"{checkpoint.kept} were kept; these {self.kept} are not those.",
            )

    def _check_chain(self, checkpoint: Checkpoint, rotations: dict[int, bytes]) -> None:
        key_id = _key_at(checkpoint.number, rotations)
        expected, last = checkpoint.number + 1, checkpoint.mac.encode()
        keys = self._keys
        key = _key(keys, key_id, expected)
        for row in rows_after(checkpoint.number, self._until):
            number, row_key, previous, mac, document = row
            if number != expected:
                raise Found(Kind.MISSING, expected, _missing(expected, number))
            if (
                _mac(key, number, key_id, last, document) != mac
                or row_key != key_id
                or previous != last
            ):
                _explain(keys, row, key_id)
            last = mac
            expected += 1
            if number in rotations:
                key_id = rotations[number]
                key = _key(keys, key_id, number)
            self.first = self.first or number
            self.last = number
            self._count()
        if checkpoint.entry > self.last:
            raise Found(Kind.MISSING, checkpoint.entry, _missing(checkpoint.entry, None))

    def _check_heads(self, checkpoint: Checkpoint) -> None:
        try:
            told = read_heads(self._heads)
            while batch := list(islice(told, _HEADS_AT_ONCE)):
                self._check_some_heads(batch, checkpoint)
        except UnreadableHead as error:
            raise Found(
                Kind.BAD_HEAD,
                None,
                f"{error}. If the machine lost power while it was written, remove that line.",
            ) from error

    def _check_some_heads(self, batch: list[SignedHead], checkpoint: Checkpoint) -> None:
        numbers = [head.id for head in batch]
        stored = dict(AuditEntry.objects.filter(pk__in=numbers).values_list("pk", "mac"))
        for head in batch:
            check_signature(self._keys, head)
            self.heads += 1
            # Others may have been signed meanwhile.
            if head.id <= self._until:
                self.signed_up_to = max(self.signed_up_to, head.id)
            mac = stored.get(head.id)
            if mac is None and head.id > checkpoint.number:
                raise Found(Kind.CUT, head.id, _cut(head, self.last))
            if mac is not None and mac != head.mac:
                raise Found(Kind.REWRITTEN, head.id, _rewritten(head))

    def _check_guards(self) -> None:
        missing = inspection.faults(connections[router.db_for_read(AuditEntry)])
        if missing:
            raise Found(
                Kind.UNGUARDED,
                None,
                f"The database does not guard its entries as it should: "
                f"{', '.join(missing)}. Ask who changed it, and restore the database's schema.",
            )

    def _count(self) -> None:
        self.entries += 1
        if self.entries % _TOLD_EVERY == 0:
            self._progress(self.entries)


def _explain(keys: KeyRing, row: Row, key_id: bytes) -> NoReturn:
    """Raises Found with what is wrong with a row that does not fit."""
    number, row_key, _, _, _ = row
    check_row(keys, row)
    if row_key != key_id:
        raise Found(Kind.WRONG_KEY, number, _wrong_key(number, row_key, key_id))
    raise Found(Kind.BROKEN, number, _broken(number))


def check_signature(keys: KeyRing, head: SignedHead) -> None:
    """Raises Found unless the head is signed by one of our keys."""
    try:
        is_signed = keys.is_signed(head.signed, head.signature, head.key_id)
    except KeyUnavailable as error:
        raise Found(Kind.NO_KEY, head.id, f"{head.place}: {error}.") from error
    if not is_signed:
        raise Found(
            Kind.BAD_HEAD, head.id, f"{head.place}: the signature of this head does not fit."
        )


def kept_line(number: int, mac: bytes) -> bytes:
    """What the digest of kept entries is made of, entry by entry."""
    return b"%d:%b\n" % (number, mac)


def _last_number() -> int:
    return AuditEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _rotations() -> dict[int, bytes]:
    """After which entry which key follows."""
    found = AuditEntry.objects.filter(action=ROTATE).values_list("pk", "target")
    return {number: target.removeprefix(KEY_TARGET).encode() for number, target in found}


def _key_at(number: int, rotations: dict[int, bytes]) -> bytes:
    """The key of the entry after that number."""
    before = [rotation for rotation in rotations if rotation <= number]
    return rotations[max(before)] if before else FIRST_KEY.encode()


def _key(keys: KeyRing, key_id: bytes, number: int) -> bytes:
    try:
        return keys.hmac_key(key_id.decode("ascii", "replace"))
    except KeyUnavailable as error:
        raise Found(Kind.NO_KEY, number, f"Entry {number} cannot be checked: {error}.") from error


def _missing(number: int, found: int | None) -> str:
    there = "the log ends before it" if found is None else f"the next one there is {found}"
    return f"Entry {number} is missing: {there}."


def _broken(number: int) -> str:
    return f"Entry {number} does not follow from the entry before it."


def _wrong_key(number: int, key_id: bytes, expected: bytes) -> str:
    return (
        f"Entry {number} is authenticated with key {key_id.decode()}; the chain says "
        f"{expected.decode()}."
    )


def _cut(head: SignedHead, last: int) -> str:
    return (
        f"The log was cut: {head.place}, of {head.at}, tells of entry {head.id}, and the log "
        f"ends with {last}."
    )


def _rewritten(head: SignedHead) -> str:
    return (
        f"The log was rewritten: entry {head.id} is another one than {head.place}, of "
        f"{head.at}, tells of."
    )
