"""What an operation leaves in the audit log when it, or its part on an agent, ends."""

from collections.abc import Iterable, Sequence

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.audit.models import Stage
from controlplane.fleet.models import Agent
from controlplane.operations.effects import DesiredChange
from controlplane.operations.models import Operation, OperationTarget
from controlplane.operations.outcomes import summary


def record_completed(
    operation: Operation,
    actor: Actor,
    rows: Sequence[OperationTarget],
    *,
    engine: str,
    changed: DesiredChange | None,
    duration_ms: float | None,
) -> None:
    """The outcome of the whole operation, in the caller's transaction, as its last
    statement. `duration_ms` is None if nobody measured. Raises django.db.DatabaseError."""
    alone = len(rows) == 1
    audit.record(
        stage=Stage.COMPLETED,
        action=operation.action,
        actor=actor,
        request_id=operation.request_id,
        operation_id=operation.pk,
        target="" if alone else f"operation:{operation.pk}",
        agent=rows[0].agent if alone else "",
        engine=engine,
        reason=operation.reason,
        answer=summary(rows),
        before=None if changed is None else changed.before,
        after=None if changed is None else changed.after,
        outcome=operation.state,
        status=rows[0].status if alone else None,
        duration_ms=duration_ms,
    )


def record_part(
    operation: Operation,
    actor: Actor,
    row: OperationTarget,
    *,
    engine: str,
    changed: DesiredChange | None,
) -> None:
    """The outcome on one agent of several. Raises django.db.DatabaseError."""
    audit.record(
        stage=Stage.COMPLETED,
        action=operation.action,
        actor=actor,
        request_id=operation.request_id,
        operation_id=operation.pk,
        agent=row.agent,
        engine=engine,
        reason=operation.reason,
        answer=summary([row]),
        before=None if changed is None else changed.before,
        after=None if changed is None else changed.after,
        outcome=row.state,
        status=row.status,
        duration_ms=row.duration_ms,
    )


def common_engine(agents: Iterable[Agent]) -> str:
    """The name of the engine that all of them belong to; "" if there are several."""
    names = {agent.engine.name for agent in agents}
    return names.pop() if len(names) == 1 else ""
