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

_OVERTAKEN = "A later change overtook this one; nobody knows of it."
_OF_ANOTHER = "The agent was removed before anybody knew of it."
_CANNOT_TELL = "No answer came, and the agent's state does not tell; it counts as not done."


def resolve_unknown(agent: Agent) -> None:
    """Ask the agent about each of its unknown outcomes whose traces are not covered by
    later changes. What the agent cannot tell is given up: it would hold up repairs for
    ever. Raises AgentFailure."""
    for revision in ConfigRevision.objects.filter(
        agent=agent.name, state=RevisionState.UNKNOWN
    ).order_by("number"):
        _resolve_revision(revision, agent)
    for change in ModeChange.objects.filter(
        agent=agent.name, state=ModeChangeState.UNKNOWN
    ).order_by("id"):
        _resolve_change(change, agent)


def _resolve_revision(revision: ConfigRevision, agent: Agent) -> None:
    later = ConfigRevision.objects.filter(agent=agent.name, number__gt=revision.number)
    if revision.created_at < agent.registered_at:
        why = _OF_ANOTHER
    elif later.exclude(state=RevisionState.FAILED).exists():
        why = _OVERTAKEN
    elif _stays_unknown(revision.operation_id, agent):
        why = _CANNOT_TELL
    else:
        return
    with transaction.atomic():
        configuration.refuse(revision, {configuration.ALL_KEYS: why})


def _resolve_change(change: ModeChange, agent: Agent) -> None:
    is_open = change.created_at >= agent.registered_at and modes.is_latest(change)
    if not is_open or _stays_unknown(change.operation_id, agent):
        with transaction.atomic():
            modes.refuse(change)


def _stays_unknown(operation_id: uuid.UUID | None, agent: Agent) -> bool:
    """Whether the agent was asked about its part of the operation and cannot tell."""
    if operation_id is None:
        return False
    row = (
        OperationTarget.objects.select_related("operation")
        .filter(operation__pk=operation_id, agent=agent.name, state=State.UNKNOWN)
        .first()
    )
    if row is None:
        # One that is still running has somebody who waits for its answer.
        return False
    state = recovery.resolve(row, CONTROLLER, timeout=settings.KVPLANE_POLL_TIMEOUT)
    return state is State.UNKNOWN
