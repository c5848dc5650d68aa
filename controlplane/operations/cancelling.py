"""Calling an operation off."""

from django.db import transaction
from django.utils import timezone

from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.operations.models import Operation, State
from engine.contract import ContractError


class AlreadyFinished(ContractError):
    """There is nothing left to call off."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(
            409,
            "Already finished",
            f"Operation {operation.pk} is {operation.state}; there is nothing to cancel.",
        )


def cancel(operation: Operation, *, actor: Actor, request_id: str, reason: str = "") -> Operation:
    """Call no further agent. Whoever carries it out notices before the next one, and
    finishes it; asking again changes nothing. Raises AlreadyFinished."""
    open_states = (State.PENDING, State.RUNNING)
    with transaction.atomic():
        asked = Operation.objects.filter(
            pk=operation.pk, state__in=open_states, cancel_requested_at=None
        ).update(cancel_requested_at=timezone.now())
        if asked:
            audit.record(
                action="operation.cancel",
                actor=actor,
                request_id=request_id,
                operation_id=operation.pk,
                target=f"operation:{operation.pk}",
                reason=reason,
                request={"action": operation.action},
                outcome="succeeded",
            )
    operation.refresh_from_db()
    if State(operation.state).is_final and not asked:
        raise AlreadyFinished(operation)
    return operation
