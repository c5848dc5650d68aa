"""Moving older entries into a file: the only way by which entries leave the table.

1. The entries since the last archive go into a compressed file of JSON Lines, each
   with its place in the chain, and a signed manifest goes beside it.
2. An entry `audit.archive`, stage requested, names the archive, its digest, the end of
   the chain in it, and what is kept: of every object the first entry, the entry that
   created it last, and the latest one.
3. The rest is deleted, a batch in a transaction, without guards only inside of it.
4. An entry `audit.archive`, stage completed, says so.

After a crash the next run goes on where this one stopped.
"""

import base64
import fcntl
import gzip
import hashlib
import json
import os
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import rfc8785
from django.db import connections, router, transaction
from django.utils import timezone

from controlplane.audit import guards, services
from controlplane.audit.actors import Actor
from controlplane.audit.entries import moment
from controlplane.audit.keys import KeyRing
from controlplane.audit.models import AuditEntry, Stage
from controlplane.audit.stored import Row, rows_after
from controlplane.audit.verification import (
    ARCHIVE,
    Checkpoint,
    kept_line,
    latest_checkpoint,
)

_BATCH = 5_000
_CREATING = (
    "agent.register",
    "api_token.create",
    "engine.create",
    "enrolment_token.create",
    "user.create",
)
# An operation is on record in its own table for as long as that keeps it.
_KEPT = """
SELECT min(id) FROM audit_auditentry
WHERE id <= %s AND target <> '' AND target NOT LIKE 'operation:%%' GROUP BY target
UNION
SELECT max(id) FROM audit_auditentry
WHERE id <= %s AND target <> '' AND target NOT LIKE 'operation:%%' GROUP BY target
UNION
SELECT max(id) FROM audit_auditentry
WHERE id <= %s AND target <> '' AND action IN (%s, %s, %s, %s, %s) GROUP BY target
"""


class AlreadyArchiving(Exception):
    """Another run holds the directory."""


@dataclass(frozen=True)
class Archived:
    """What one run did. `name` is the archive's file, `deleted` how many entries left
    the table."""

    name: str
    first: int
    last: int
    count: int
    kept: int
    deleted: int


def last_before(before: datetime) -> int:
    """The number of the last entry before that moment; 0 if there is none."""
    found = AuditEntry.objects.filter(created_at__lt=before).order_by("-created_at", "-id")
    return found.values_list("pk", flat=True).first() or 0


def archive(
    directory: Path, keys: KeyRing, until: int, *, actor: Actor, reason: str
) -> Archived | None:
    """Archive the entries up to that number, those that were not archived yet; None if
    there are none. A run that broke off is finished first. The log should have been
    verified before.

    Raises AlreadyArchiving, OSError, KeyUnavailable and django.db.DatabaseError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(directory):
        checkpoint = latest_checkpoint()
        if not checkpoint.is_done:
            _finish(checkpoint, actor)
        if until <= checkpoint.number:
            return None
        manifest = _write(directory, keys, checkpoint, until)
        request_id = uuid.uuid4().hex
        with transaction.atomic():
            kept, digest = _digest_of_kept(until)
            services.record(
                stage=Stage.REQUESTED,
                action=ARCHIVE,
                target=f"audit_archive:{manifest['archive']}",
                actor=actor,
                request_id=request_id,
                reason=reason,
                request={
                    **{name: manifest[name] for name in ("archive", "sha256", "first", "last")},
                    "last_mac": manifest["last_mac"],
                    "kept": {"count": kept, "sha256": digest},
                },
            )
        deleted = _finish(latest_checkpoint(), actor)
        return Archived(
            name=str(manifest["archive"]),
            first=int(manifest["first"]),
            last=until,
            count=int(manifest["count"]),
            kept=kept,
            deleted=deleted,
        )


def archive_line(row: Row) -> bytes:
    """A row as it stands in an archive: canonical JSON in a line."""
    number, key_id, previous, mac, document = row
    return b'{"entry":%b,"id":%d,"key":"%b","mac":"%b","previous":"%b"}\n' % (
        document,
        number,
        key_id,
        mac,
        previous,
    )


def signed_part(manifest: dict[str, Any]) -> bytes:
    """What the signature in a manifest is over."""
    return rfc8785.dumps({name: manifest[name] for name in manifest if name != "signature"})


def _write(directory: Path, keys: KeyRing, start: Checkpoint, until: int) -> dict[str, Any]:
    """The archive and its manifest, each put in its place whole."""
    path = directory / f"audit-{start.number + 1:012d}-{until:012d}.jsonl.gz"
    draft = path.with_suffix(".part")
    count, last_mac = 0, start.mac
    with draft.open("wb") as file:
        # The same entries make the same bytes, whenever they are archived.
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
            for row in rows_after(start.number, until):
                packed.write(archive_line(row))
                count, last_mac = count + 1, row[3].decode()
        file.flush()
        os.fsync(file.fileno())
    manifest: dict[str, Any] = {
        "format": 1,
        "archive": path.name,
        "at": moment(timezone.now()),
        "first": start.number + 1,
        "last": until,
        "count": count,
        "previous": start.mac,
        "last_mac": last_mac,
        "sha256": digest_of(draft),
        "key": keys.signing_key_id(),
    }
    manifest["signature"] = base64.b64encode(keys.sign(signed_part(manifest))).decode()
    draft.rename(path)
    beside = manifest_path(path)
    written = beside.with_suffix(".part")
    written.write_text(json.dumps(manifest, indent=2) + "\n")
    written.rename(beside)
    _sync(directory)
    return manifest


def manifest_path(archive_file: Path) -> Path:
    """Where the manifest of that archive lies."""
    return archive_file.with_name(f"{archive_file.name.removesuffix('.jsonl.gz')}.manifest.json")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_kept(until: int) -> tuple[int, str]:
    digest = hashlib.sha256()
    kept = _kept(until)
    for begin in range(0, len(kept), _BATCH):
        some = AuditEntry.objects.filter(pk__in=kept[begin : begin + _BATCH]).order_by("pk")
        for number, mac in some.values_list("pk", "mac"):
            digest.update(kept_line(number, mac.encode()))
    return len(kept), digest.hexdigest()


def _kept(until: int) -> list[int]:
    """The numbers of what stays, in order. The same while the rest is being deleted."""
    with connections[router.db_for_write(AuditEntry)].cursor() as cursor:
        cursor.execute(_KEPT, [until, until, until, *_CREATING])
        return sorted(number for (number,) in cursor.fetchall())


def _finish(checkpoint: Checkpoint, actor: Actor) -> int:
    """Delete what was archived and is not kept, and say so; how many."""
    said = AuditEntry.objects.get(pk=checkpoint.entry)
    deleted = sum(_delete(checkpoint.number))
    services.record(
        stage=Stage.COMPLETED,
        action=ARCHIVE,
        target=said.target,
        actor=actor,
        request_id=said.request_id,
        reason=said.reason,
        answer={"deleted": deleted},
        outcome="succeeded",
    )
    return deleted


def _delete(until: int) -> Iterator[int]:
    connection = connections[router.db_for_write(AuditEntry)]
    first = AuditEntry.objects.order_by("id").values_list("pk", flat=True).first() or 1
    kept = _kept(until)
    for begin in range(first, until + 1, _BATCH):
        end = min(begin + _BATCH - 1, until)
        stays = kept[bisect_left(kept, begin) : bisect_right(kept, end)]
        places = ", ".join(["%s"] * len(stays))
        spared = f"AND id NOT IN ({places})" if stays else ""
        with (
            transaction.atomic(using=connection.alias),
            guards.lifted(connection),
            connection.cursor() as cursor,
        ):
            cursor.execute(
                f"DELETE FROM audit_auditentry WHERE id >= %s AND id <= %s {spared}",  # noqa: S608
                [begin, end, *stays],
            )
            deleted = cursor.rowcount
        yield deleted


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyArchiving(f"another run is archiving into {directory}") from None
        yield


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
