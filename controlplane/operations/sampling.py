"""Snapshots of chunk statistics around the changes that begin and end a count."""

import logging
from collections.abc import Sequence

from django.db import DatabaseError

from controlplane.fleet.models import Agent
from controlplane.operations.models import State
from controlplane.operations.outcomes import Outcome
from controlplane.statistics.models import Trigger
from controlplane.statistics.services import sample_now
from engine.contract import ContractError, Endpoint

logger = logging.getLogger(__name__)
_TRIGGERS = {
    "chunk_statistics.start": Trigger.START,
    "chunk_statistics.stop": Trigger.STOP,
    "chunk_statistics.reset": Trigger.RESET,
}


def sample_before(
    endpoint: Endpoint, agents: Sequence[Agent], *, request_id: str, timeout: float
) -> None:
    """Keep what was counted before a reset takes it away."""
    if endpoint.action != "chunk_statistics.reset":
        return
    for agent in agents:
        _sample(agent, Trigger.STOP, request_id, timeout)


def sample_after(
    endpoint: Endpoint, outcomes: Sequence[Outcome], *, request_id: str, timeout: float
) -> None:
    """Keep where a count begins, or what it came to."""
    trigger = _TRIGGERS.get(endpoint.action or "")
    if trigger is None:
        return
    for outcome in outcomes:
        if outcome.state is State.SUCCEEDED:
            _sample(outcome.agent, trigger, request_id, timeout)


def _sample(agent: Agent, trigger: Trigger, request_id: str, timeout: float) -> None:
    # A missing snapshot is a gap in a series; the change itself was asked for.
    try:
        sample_now(agent, trigger=trigger, request_id=request_id, timeout=timeout)
    except ContractError as error:
        logger.warning("no snapshot at %s of %s: %s", trigger, agent.name, error.message)
    except DatabaseError:
        logger.exception("no snapshot at %s of %s", trigger, agent.name)
