"""Writing audit entries; nothing else in the control plane does."""

import logging
import uuid
from collections.abc import Mapping
from datetime import datetime

from django.db import DatabaseError, transaction

from controlplane.audit import trail
from controlplane.audit.actors import Actor
from controlplane.audit.appending import append
from controlplane.audit.catalogue import check_action
from controlplane.audit.difference import difference
from controlplane.audit.entries import Content, encode
from controlplane.audit.events import is_event, publish
from controlplane.audit.limiter import DenialLimiter
from controlplane.audit.models import AuditEntry, Stage

logger = logging.getLogger(__name__)
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
    """The entry with the columns as the database computes them."""
    scalars = content.scalars()
    appended = append(encode(scalars, content.parts()))
    computed = {
        name: scalars[name]
        for name in (
            *("stage", "action", "request_id", "actor_kind", "actor_name", "actor_ref"),
            *("target", "agent", "engine", "reason", "outcome", "status"),
        )
    }
    entry = AuditEntry(
        id=appended.id,
        key_id=appended.key_id,
        previous=appended.previous,
        mac=appended.mac,
        document=appended.document,
        created_at=datetime.fromisoformat(appended.at),
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
