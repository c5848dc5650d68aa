"""Signed heads: what the end of the chain was, told outside of the database.

Each is a line of canonical JSON (RFC 8785) in a file of its day,

    {"at": …, "id": <number>, "key": <signing key id>, "mac": …, "signature": …}

where `signature` is Ed25519 (RFC 8032), base64, over the same without `signature`.
Whoever rewrites the table, or cuts its end off, cannot rewrite these, if they lie where
the database's owner has no say: on another host, or in a store that only appends.
"""

import base64
import binascii
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import rfc8785
from django.conf import settings
from django.utils import timezone

from controlplane.audit import turns
from controlplane.audit.chain import Head, read_head
from controlplane.audit.entries import moment
from controlplane.audit.keys import KeyRing, key_ring

_PATTERN = "heads-*.jsonl"


class UnreadableHead(Exception):
    """A line is not a head."""


@dataclass(frozen=True)
class SignedHead:
    """One line. `signed` is what the signature is over."""

    id: int
    mac: str
    at: str
    key_id: str
    signed: bytes
    signature: bytes
    place: str
    """File and line, for people."""


def heads_directory() -> Path:
    """Where the heads of this installation lie."""
    return Path(settings.KVPLANE_AUDIT_HEADS_DIR)


class HeadWriter:
    """Writes the head when there is a new one. Several processes may write to the same
    directory."""

    def __init__(self, directory: Path, keys: KeyRing) -> None:
        self._directory = directory
        self._keys = keys
        self._written = 0

    def write(self) -> Head | None:
        """Sign and write the end of the chain; None if it is where it was, or there is
        none. Raises OSError and django.db.DatabaseError."""
        head = read_head()
        if head.id in (0, self._written):
            return None
        turns.settle()
        now = timezone.now()
        _append(self._directory / f"heads-{now:%Y-%m-%d}.jsonl", _line(head, now, self._keys))
        self._written = head.id
        return head


def head_writer() -> HeadWriter:
    """A writer of this installation's heads."""
    return HeadWriter(heads_directory(), key_ring())


def read_heads(directory: Path) -> Iterator[SignedHead]:
    """All heads, file by file. Raises UnreadableHead, naming file and line, and
    OSError."""
    for path in sorted(directory.glob(_PATTERN)):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield _read(line, f"{path.name}:{number}")


def _line(head: Head, now: datetime, keys: KeyRing) -> bytes:
    told: dict[str, Any] = {
        "at": moment(now),
        "id": head.id,
        "key": keys.signing_key_id(),
        "mac": head.mac,
    }
    signature = keys.sign(rfc8785.dumps(told))
    return rfc8785.dumps({**told, "signature": base64.b64encode(signature).decode()}) + b"\n"


def _append(path: Path, line: bytes) -> None:
    """Raises OSError; then the file is as it was."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # Other processes append too.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        length = os.fstat(descriptor).st_size
        if length and os.pread(descriptor, 1, length - 1) != b"\n":
            # What a power cut left; it must not take this line along.
            line = b"\n" + line
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, length)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(line: bytes, place: str) -> SignedHead:
    try:
        told = json.loads(line)
        signature = base64.b64decode(told.pop("signature"), validate=True)
        return SignedHead(
            id=int(told["id"]),
            mac=str(told["mac"]),
            at=str(told["at"]),
            key_id=str(told["key"]),
            signed=rfc8785.dumps(told),
            signature=signature,
            place=place,
        )
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
        binascii.Error,
    ) as error:
        raise UnreadableHead(f"{place} is not a signed head") from error
