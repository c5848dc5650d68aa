"""Writing audit entries; nothing else in the control plane does."""

import logging
import uuid
from collections.abc import Mapping

from django.db import DatabaseError, connections, router, transaction
from django.utils import timezone

from controlplane.audit.actors import Actor
from controlplane.audit.events import is_event, publish
from controlplane.audit.limiter import DenialLimiter
from controlplane.audit.models import MAX_REASON, AuditEntry, Stage
from controlplane.audit.redaction import redact, redact_text
from controlplane.rows import insert_rows

logger = logging.getLogger(__name__)
_TURN = 0x6B7670  # Of the application's choosing: "kvp".
_denials = DenialLimiter(per_key=10, window_s=60.0, keys=1024)


def record(
    *,
    action: str,
    actor: Actor,
    request_id: str,
    stage: Stage = Stage.EVENT,
    operation_id: uuid.UUID | None = None,
    agent: str = "",
    reason: str = "",
    request: Mapping[str, object] | None = None,
    answer: object = None,
    outcome: str = "",
    status: int | None = None,
    duration_ms: float | None = None,
) -> AuditEntry:
    """Add one entry, redacted, in the caller's transaction.

    `action` is "entity.verb". A change of our own records calls this inside the
    transaction that makes the change, so that neither exists without the other.
    Raises django.db.DatabaseError.
    """
    entry = AuditEntry(
        created_at=timezone.now(),
        stage=stage,
        action=action,
        operation_id=operation_id,
        request_id=request_id,
        actor_kind=actor.kind,
        actor_name=actor.name,
        actor_ref=actor.ref,
        source_address=actor.source_address,
        agent=agent,
        reason=redact_text(reason)[:MAX_REASON],
        request=redact(request or {}),
        answer=redact(answer),
        outcome=outcome,
        status=status,
        duration_ms=duration_ms,
    )
    _insert_in_turn(entry)
    if is_event(entry):
        transaction.on_commit(lambda: publish(entry), robust=True)
    return entry


def _insert_in_turn(entry: AuditEntry) -> None:
    """Let entries be committed in the order of their ids: a reader that goes on from a
    cursor must not step over one that is committed later. SQLite has one writer."""
    using = router.db_for_write(AuditEntry)
    connection = connections[using]
    if connection.vendor != "postgresql":
        insert_rows(entry)
        return
    # A login is recorded outside of a transaction: the lock would end with its statement.
    with transaction.atomic(using=using, savepoint=False):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_TURN])
        insert_rows(entry)


def record_denial(
    *,
    action: str = "access.denied",
    actor: Actor,
    request_id: str,
    request: Mapping[str, object],
    status: int | None = None,
) -> None:
    """Add an entry for a call that was refused with 401 or 403, or a failed login.

    At most ten a minute for one actor at one source address: whoever hammers
    the door must not fill the disk, nor hide anybody else. What was left out is
    counted in the next entry. A failure to record is logged only, because the
    call is refused either way.
    """
    suppressed = _denials.admit((action, actor.source_address, actor.ref))
    if suppressed is None:
        return
    try:
        record(
            action=action,
            actor=actor,
            request_id=request_id,
            request={**request, "left_out_before": suppressed},
            outcome="denied",
            status=status,
        )
    except DatabaseError:
        logger.exception("could not record that request %s was denied", request_id)
