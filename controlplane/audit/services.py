"""Writing audit entries; nothing else in the control plane does."""

import logging
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import DatabaseError, connections, router, transaction
from django.utils import timezone

from controlplane.audit import chain, trail
from controlplane.audit.actors import Actor
from controlplane.audit.catalogue import check_action
from controlplane.audit.difference import difference
from controlplane.audit.entries import Content, encode, moment
from controlplane.audit.events import is_event, publish
from controlplane.audit.keys import key_ring
from controlplane.audit.limiter import DenialLimiter
from controlplane.audit.models import AuditEntry, Stage

logger = logging.getLogger(__name__)
_TURN = 0x6B7670  # Of the application's choosing: "kvp".
_INSERT = (
    "INSERT INTO audit_auditentry (id, key_id, previous, mac, document) VALUES (%s, %s, %s, %s, %s)"
)
_denials = DenialLimiter(per_key=10, window_s=60.0, keys=1024)


def record(
    *,
    action: str,
    actor: Actor,
    request_id: str,
    stage: Stage = Stage.EVENT,
    operation_id: uuid.UUID | None = None,
    target: str = "",
    agent: str = "",
    engine: str = "",
    reason: str = "",
    request: Mapping[str, object] | None = None,
    answer: object = None,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
    outcome: str = "",
    status: int | None = None,
    duration_ms: float | None = None,
) -> AuditEntry:
    """Add one entry, redacted, in the caller's transaction.

    `action` is one of the catalogue. `target` is what it was done to, `entity:name`;
    with an agent it is that agent unless said otherwise. `before` and `after` are kept
    with their difference. A change of our own records calls this inside the
    transaction that makes the change, so that neither exists without the other; and
    last, because entries take turns until they are committed. Raises
    django.db.DatabaseError, and UnknownAction.
    """
    check_action(action)
    changed = None if before is None and after is None else difference(before or {}, after or {})
    content = Content(
        stage=stage,
        action=action,
        actor=actor,
        request_id=request_id,
        operation_id=operation_id,
        target=target or (f"agent:{agent}" if agent else ""),
        agent=agent,
        engine=engine,
        reason=reason,
        request=request or {},
        answer=answer,
        before=before,
        after=after,
        diff=changed,
        outcome=outcome,
        status=status,
        duration_ms=duration_ms,
    )
    entry = _append(content)
    if (followed := trail.current()) is not None:
        followed.entries.append(entry.pk)
    if is_event(entry):
        transaction.on_commit(lambda: publish(entry), robust=True)
    return entry


def _append(content: Content) -> AuditEntry:
    """Put it at the end of the chain. Whoever does so waits until the entry before is
    committed: SQLite has one writer anyway, PostgreSQL is told by a lock."""
    using = router.db_for_write(AuditEntry)
    keys = key_ring()
    scalars = content.scalars()
    encoded = encode(scalars, content.parts())
    # A login is recorded outside of a transaction: the lock would end with its statement.
    with transaction.atomic(using=using, savepoint=False):
        head = chain.read_head(in_turn())
        number = head.id + 1
        # A clock that was set back must not put a later entry before an earlier one.
        at = max(moment(timezone.now()), head.at)
        whole = encoded.at(at)
        mac = chain.mac_of(keys, whole, number, head.next_key, head.mac)
        row = (number, head.next_key, head.mac, mac, whole.decode())
        with connections[using].cursor() as cursor:
            cursor.execute(_INSERT, row)
    return _stored(row, content, scalars, datetime.fromisoformat(at))


def in_turn() -> str:
    """A statement that waits until nobody else is adding an entry; the turn ends with the
    transaction. "" where whoever writes is alone anyway."""
    connection = connections[router.db_for_write(AuditEntry)]
    return f"SELECT pg_advisory_xact_lock({_TURN});" if connection.vendor == "postgresql" else ""


def _stored(
    row: tuple[Any, ...], content: Content, scalars: Mapping[str, Any], at: Any
) -> AuditEntry:
    """The entry with the columns as the database computes them."""
    number, key_id, previous, mac, encoded = row
    computed = {
        name: scalars[name]
        for name in (
            *("stage", "action", "request_id", "actor_kind", "actor_name", "actor_ref"),
            *("target", "agent", "engine", "reason", "outcome", "status"),
        )
    }
    entry = AuditEntry(
        id=number,
        key_id=key_id,
        previous=previous,
        mac=mac,
        document=encoded,
        created_at=at,
        operation_id=content.operation_id,
        **computed,
    )
    entry._state.adding = False
    return entry


def record_denial(
    *,
    action: str = "access.denied",
    actor: Actor,
    request_id: str,
    request: Mapping[str, object],
    agent: str = "",
    engine: str = "",
    status: int | None = None,
    duration_ms: float | None = None,
    outcome: str = "denied",
) -> None:
    """Add an entry for a call that was refused, or a failed login.

    Of callers that nobody knows, at most ten a minute from one source address:
    whoever hammers the door must not fill the disk, nor hide anybody else. What was
    left out is counted in the next entry. A failure to record is logged only, because
    the call is refused either way.
    """
    suppressed: int | None = 0
    if not actor.ref:
        suppressed = _denials.admit((action, actor.source_address))
    if suppressed is None:
        return
    try:
        record(
            action=action,
            actor=actor,
            request_id=request_id,
            agent=agent,
            engine=engine,
            request={**request, "left_out_before": suppressed},
            outcome=outcome,
            status=status,
            duration_ms=duration_ms,
        )
    except DatabaseError:
        logger.exception("could not record that request %s was denied", request_id)
