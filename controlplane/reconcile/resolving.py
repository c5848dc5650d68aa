"""Finding out what came of changes that had no answer."""

import uuid

from django.conf import settings
from django.db import transaction

from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.fleet.models import Agent
from controlplane.modes import services as modes
from controlplane.modes.models import ModeChange, ModeChangeState
from controlplane.operations import recovery
from controlplane.operations.importing import CONTROLLER
from controlplane.operations.models import OperationTarget, State

_OVERTAKEN = {configuration.ALL_KEYS: "A later change overtook this one; nobody knows of it."}


def resolve_unknown(agent: Agent) -> None:
    """Ask the agent about each of its unknown outcomes whose traces are not covered by
    later changes. Raises AgentFailure."""
    for revision in ConfigRevision.objects.filter(
        agent=agent.name, state=RevisionState.UNKNOWN
    ).order_by("number"):
        later = ConfigRevision.objects.filter(agent=agent.name, number__gt=revision.number)
        if later.exclude(state=RevisionState.FAILED).exists():
            with transaction.atomic():
                configuration.refuse(revision, _OVERTAKEN)
        else:
            _resolve_target(revision.operation_id, agent)
    for change in ModeChange.objects.filter(
        agent=agent.name, state=ModeChangeState.UNKNOWN
    ).order_by("id"):
        if modes.is_latest(change):
            _resolve_target(change.operation_id, agent)
        else:
            with transaction.atomic():
                modes.refuse(change)


def _resolve_target(operation_id: uuid.UUID | None, agent: Agent) -> None:
    if operation_id is None:
        return
    row = (
        OperationTarget.objects.select_related("operation")
        .filter(operation__pk=operation_id, agent=agent.name, state=State.UNKNOWN)
        .first()
    )
    # One that is still running has somebody who waits for its answer.
    if row is not None:
        recovery.resolve(row, CONTROLLER, timeout=settings.KVPLANE_POLL_TIMEOUT)
