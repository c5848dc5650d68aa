"""The audit log: whether it can be written, verified, and is delivered."""

import os
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from controlplane.audit import inspection
from controlplane.audit.chain import read_head
from controlplane.audit.events import latest_cursor
from controlplane.audit.forwarding.forwarder import forwarders
from controlplane.audit.heads import heads_directory
from controlplane.audit.keys import key_ring
from controlplane.audit.models import ForwardingCursor
from controlplane.launcher.checkup.finding import Finding, bad, ok, warn

AREA = "audit"
_LATE = 3
"""Intervals without a head after which somebody should look."""
_BEHIND = 1000


def check_keys() -> Iterator[Finding]:
    """Whether the keys are there, and nobody else's."""
    ring = key_ring()
    try:
        ring.hmac_key(read_head().next_key)
        ring.signing_key_id()
    except DatabaseError as error:
        yield bad(
            AREA,
            f"a key cannot be read: {error}",
            "Put the directory of keys back from the backup; nothing can be recorded without it.",
        )
        return
    exposed = sorted(path.name for path in ring.directory.iterdir() if _is_exposed(path))
    if _is_exposed(ring.directory):
        exposed.append(str(ring.directory))
    if exposed:
        yield bad(
            AREA,
            f"others can read {', '.join(exposed)}",
            f"chmod -R go-rwx {ring.directory}; then `manage.py rotate_audit_key`.",
        )
    else:
        yield ok(AREA, "the keys are readable, and private")


def check_heads() -> Iterator[Finding]:
    """Whether signed heads are written."""
    directory = heads_directory()
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        yield warn(
            AREA,
            f"no signed head can be written to {directory}, or none was yet",
            "Start the web process or a controller, and let it write to KVPLANE_AUDIT_HEADS_DIR.",
        )
        return
    newest = max((path.stat().st_mtime for path in directory.glob("heads-*.jsonl")), default=0.0)
    late = timedelta(seconds=_LATE * settings.KVPLANE_AUDIT_HEAD_SECONDS)
    age = timedelta(seconds=timezone.now().timestamp() - newest)
    if read_head().id and age > late:
        yield warn(
            AREA,
            f"the newest signed head is {_hours(age)} old" if newest else "there is no signed head",
            "What was recorded since could be cut off unseen: start the web process or a "
            "controller, which write one every KVPLANE_AUDIT_HEAD_SECONDS while entries are added.",
        )
    else:
        yield ok(AREA, "signed heads are fresh")


def check_guards() -> Finding:
    """Whether the database refuses changes of entries."""
    faults = inspection.faults(connection)
    if faults:
        return bad(
            AREA,
            f"the database does not guard its entries as it should: {', '.join(faults)}",
            "Find out who changed that, run `manage.py verify_audit`, and restore the database "
            "from a backup that has them.",
        )
    return ok(AREA, "the database's guards are in place")


def check_forwarding() -> Iterator[Finding]:
    """Whether receivers get what they should."""
    cursors = {cursor.name: cursor for cursor in ForwardingCursor.objects.all()}
    for forwarder in forwarders():
        cursor = cursors.get(forwarder.name)
        behind = latest_cursor() - (0 if cursor is None else cursor.last_id)
        if cursor is not None and cursor.attempts:
            yield warn(
                AREA,
                f"{forwarder.name}: {cursor.attempts} attempts failed, {behind} entries behind: "
                f"{cursor.last_error}",
                "Mend the receiver; entries wait and are delivered in order.",
            )
        elif behind > _BEHIND or cursor is None:
            yield warn(
                AREA,
                f"{forwarder.name} is {behind} entries behind",
                "Start the web process or a controller, which forward.",
            )
        else:
            yield ok(AREA, f"{forwarder.name} is {behind} entries behind")


def _is_exposed(path: Path) -> bool:
    return not path.name.endswith(".pub") and bool(
        path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )


def _hours(age: timedelta) -> str:
    return str(timedelta(seconds=int(age.total_seconds())))
