"""The chain: each entry is authenticated together with the one before it.

`mac` is HMAC-SHA-256 (RFC 2104) over the canonical JSON (RFC 8785) of

    {"entry": <the document>, "id": <number>, "key": <key id>, "previous": <mac before>}

in lowercase hexadecimal. The first entry's `previous` is 64 zeros. Numbers have no
gaps. Which key makes the next entry is for the chain to say: the key of the last
entry, unless that one is `audit_key.rotate`, whose target names the next key.
"""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from controlplane.audit.keys import KeyRing
from controlplane.audit.models import AuditEntry
from controlplane.rows import Columns, read_rows

GENESIS = "0" * 64
FIRST_KEY = "k1"
ROTATE = "audit_key.rotate"
KEY_TARGET = "audit_key:"
_HEAD = (Columns(AuditEntry, "entry", ("id", "key_id", "mac", "created_at", "action", "target")),)
_LAST = "FROM audit_auditentry entry ORDER BY entry.id DESC LIMIT 1"


@dataclass(frozen=True)
class Head:
    """The end of the chain: the last entry's number and mac, and what the next entry
    needs: its key, and a moment that it must not lie before (UTC)."""

    id: int
    mac: str
    next_key: str
    at: datetime


_EMPTY = Head(0, GENESIS, FIRST_KEY, datetime(1970, 1, 1, tzinfo=UTC))


def read_head() -> Head:
    """The end of the chain now. Raises django.db.DatabaseError."""
    found = read_rows(_HEAD, _LAST, [])
    if not found:
        return _EMPTY
    (entry,) = found[0]
    rotated = entry.action == ROTATE
    next_key = entry.target.removeprefix(KEY_TARGET) if rotated else entry.key_id
    return Head(entry.pk, entry.mac, next_key, entry.created_at)


def authenticated(document: bytes, number: int, key_id: str, previous: str) -> bytes:
    """The bytes that the mac is made of."""
    return b'{"entry":%b,"id":%d,"key":"%b","previous":"%b"}' % (
        document,
        number,
        key_id.encode(),
        previous.encode(),
    )


def mac_of(keys: KeyRing, document: bytes, number: int, key_id: str, previous: str) -> str:
    """The mac of an entry. Raises KeyUnavailable."""
    data = authenticated(document, number, key_id, previous)
    return hmac.digest(keys.hmac_key(key_id), data, "sha256").hex()
