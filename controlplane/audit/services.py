"""Writing audit entries; nothing else in the control plane does."""

import logging
import uuid
from collections.abc import Mapping
from datetime import datetime

from django.db import DatabaseError, transaction

from controlplane.audit import trail
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.appending import append
from controlplane.audit.catalogue import check_action
from controlplane.audit.difference import difference
from controlplane.audit.entries import Content, encode
from controlplane.audit.events import is_event, publish
from controlplane.audit.limiter import Admission, DenialLimiter, source_of
from controlplane.audit.models import AuditEntry, Stage

logger = logging.getLogger(__name__)
_denials = DenialLimiter(per_source=10, overall=600, window_s=60.0, sources=1024)


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

    Of callers that nobody knows, at most ten a minute from one source, which is an
    address or an IPv6 network, and 600 from all: whoever hammers the door must not fill
    the disk, nor hide anybody else. What was left out is counted in the next entry, or
    in one of its own. A failure to record is logged only, because the call is refused
    either way.
    """
    admission = Admission(admitted=True)
    if not actor.ref:
        admission = _denials.admit(action, source_of(actor.source_address))
    if not admission.admitted:
        return
    before, elsewhere = admission.left_out_before, admission.left_out_elsewhere
    try:
        record(
            action=action,
            actor=actor,
            request_id=request_id,
            agent=agent,
            engine=engine,
            request={**request, "left_out_before": before, "left_out_elsewhere": elsewhere},
            outcome=outcome,
            status=status,
            duration_ms=duration_ms,
        )
    except DatabaseError:
        _denials.put_back(action, before + elsewhere + 1)
        logger.exception("could not record that request %s was denied", request_id)


def count_denial(action: str) -> None:
    """Count a call that was refused and is not put on record; it is told of with the others
    that were left out."""
    _denials.put_back(action, 1)


def record_left_out() -> None:
    """Add an entry that tells how many denials were left out since they were told last,
    if any were. A failure to record is logged only; they are counted on."""
    left_out = _denials.take()
    if not left_out:
        return
    try:
        record(
            action="access.denied",
            actor=Actor(ActorKind.USER, "anonymous", ""),
            request_id=uuid.uuid4().hex,
            request={"left_out": sum(left_out.values()), "actions": left_out},
            outcome="denied",
        )
    except DatabaseError:
        for action, count in left_out.items():
            _denials.put_back(action, count)
        logger.exception("could not record that %s denials were left out", left_out)
