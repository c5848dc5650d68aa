"""Taking turns at the end of the chain.

Whoever adds an entry must know the one before, and that one must not vanish. SQLite has
one writer at a time anyway, and what another connection sees there is on disk.

PostgreSQL is told by an advisory lock that ends with the transaction. If it were held
until the commit is on disk, each entry would wait for a flush of its own. So the commit
itself does not wait (`synchronous_commit = off`), and whoever made it waits afterwards,
together with the others: PostgreSQL flushes its log in order, and once for all who wait.
A power cut in between takes entries from the end of the chain only, together with the
transactions that they stand for, before anybody was told that they are committed.
"""

from django.db import connections, router, transaction

from controlplane.audit.models import AuditEntry

_LOCK = 0x6B7670  # Of the application's choosing: "kvp".
# As long as SQLite waits: whoever hangs in its turn must not take everybody along. Foreign
# keys are checked before the turn, not at the commit: that can wait for rows of somebody
# who waits for the turn.
_BEGIN = (
    "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL synchronous_commit = off; "
    f"SET LOCAL lock_timeout = '20s'; SELECT pg_advisory_xact_lock({_LOCK});"
)
# The smallest transaction that is written to the log, and so waits for it; how long it
# waits is the server's `synchronous_commit`, standby servers included.
_SETTLE = "SELECT pg_logical_emit_message(true, 'kvplane', '')"


def begin() -> str:
    """Statements that wait until nobody else is adding an entry; the turn ends with the
    transaction. "" where whoever writes is alone anyway."""
    return _BEGIN if _is_postgresql() else ""


def settle_after_commit() -> None:
    """Settle when the transaction that adds an entry is committed."""
    if _is_postgresql():
        transaction.on_commit(settle, using=router.db_for_write(AuditEntry))


def settle() -> None:
    """Wait until what was committed so far, by anybody, is on disk: nothing may be said
    or done on account of an entry before that. Raises django.db.DatabaseError."""
    if not _is_postgresql():
        return
    with connections[router.db_for_write(AuditEntry)].cursor() as cursor:
        cursor.execute(_SETTLE)


def _is_postgresql() -> bool:
    return connections[router.db_for_write(AuditEntry)].vendor == "postgresql"
