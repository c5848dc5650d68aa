"""The chain: each entry is authenticated together with the one before it.

`mac` is HMAC-SHA-256 (RFC 2104) over the canonical JSON (RFC 8785) of

    {"entry": <the document>, "id": <number>, "key": <key id>, "previous": <mac before>}

in lowercase hexadecimal. The first entry's `previous` is 64 zeros. Numbers have no
gaps. Which key makes the next entry is for the chain to say: the key of the last
entry, unless that one is `audit_key.rotate`, whose target names the next key.
"""

import hmac
from dataclasses import dataclass

from django.db import connections, router

from controlplane.audit.keys import KeyRing
from controlplane.audit.models import AuditEntry

GENESIS = "0" * 64
FIRST_KEY = "k1"
ROTATE = "audit_key.rotate"
KEY_TARGET = "audit_key:"
_AT = {
    "sqlite": "json_extract(document, '$.at')",
    "postgresql": "document::json ->> 'at'",
}


@dataclass(frozen=True)
class Head:
    """The end of the chain: the last entry's number and mac, and what the next entry
    needs: its key, and a moment that it must not lie before, as it is written."""

    id: int
    mac: str
    next_key: str
    at: str


_EMPTY = Head(0, GENESIS, FIRST_KEY, "")


def read_head(before: str = "") -> Head:
    """The end of the chain now, after the statements `before`, which go along with the
    question. Raises django.db.DatabaseError."""
    connection = connections[router.db_for_write(AuditEntry)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"{before} SELECT id, mac, key_id, {_AT[connection.vendor]}, action, target "  # noqa: S608
            "FROM audit_auditentry ORDER BY id DESC LIMIT 1"
        )
        for _ in range(before.count(";")):
            cursor.nextset()
        last = cursor.fetchone()
    if last is None:
        return _EMPTY
    number, mac, key_id, at, action, target = last
    return Head(number, mac, target.removeprefix(KEY_TARGET) if action == ROTATE else key_id, at)


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
