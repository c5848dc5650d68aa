"""Ending modes whose time is up."""

import logging

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from controlplane.audit import services as audit
from controlplane.fleet.models import Agent
from controlplane.modes import services as modes
from controlplane.modes.models import DesiredMode, Mode, ModeSource
from controlplane.modes.services import Switch, Wish
from controlplane.operations.calls import read_call
from controlplane.operations.effects import ReplaceMode, Superseded, call_for
from controlplane.operations.importing import CONTROLLER
from controlplane.operations.services import carry_out
from controlplane.reconcile.backoff import next_attempt_at
from engine.contract import endpoint

logger = logging.getLogger(__name__)


def expire_modes(agent: Agent, request_id: str) -> None:
    """Revert the agent's modes whose time is up. One that the agent does not revert is
    tried again after a growing pause, and then given up, loudly."""
    now = timezone.now()
    for desired in modes.desired_of([agent.name])[agent.name].values():
        if not desired.is_to_be_ended(now):
            continue
        if desired.revert_to is None or desired.revert_to == desired.value:
            _let_it_last(agent, desired, request_id)
        elif desired.revert_attempts >= settings.KVPLANE_REPAIR_ATTEMPTS:
            _give_up(agent, desired, request_id)
        else:
            switch = Switch(Mode(desired.mode), desired.backend)
            wish = Wish(switch, desired.revert_to, source=ModeSource.EXPIRY)
            _revert(agent, desired, wish, request_id)


def _let_it_last(agent: Agent, desired: DesiredMode, request_id: str) -> None:
    with transaction.atomic():
        if modes.let_it_last(desired):
            audit.record(
                action="mode.last",
                actor=CONTROLLER,
                request_id=request_id,
                agent=agent.name,
                engine=agent.engine.name,
                request={"modes": {_name(desired): desired.value}},
                outcome="succeeded",
            )


def _revert(agent: Agent, desired: DesiredMode, wish: Wish, request_id: str) -> None:
    operation_id, query = call_for(wish.switch, value=wish.value)
    try:
        performed = carry_out(
            read_call(endpoint(operation_id), query, None),
            ReplaceMode(wish, desired.change_id),
            [agent],
            actor=CONTROLLER,
            reason="its time is up",
            request_id=request_id,
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
        )
    except Superseded:
        return
    if problems := performed.problems():
        next_at = next_attempt_at(desired.revert_attempts + 1)
        modes.note_not_ended(desired, "; ".join(problems), next_at)


def _give_up(agent: Agent, desired: DesiredMode, request_id: str) -> None:
    with transaction.atomic():
        if not modes.give_up_ending(desired):
            return
        audit.record(
            action="mode.give_up",
            actor=CONTROLLER,
            request_id=request_id,
            agent=agent.name,
            engine=agent.engine.name,
            request={"modes": _described(desired), "attempts": desired.revert_attempts},
            answer={"message": desired.revert_error},
            outcome="failed",
        )
    logger.error(
        "the time of %s is up and %d attempts did not end it: %s",
        desired,
        desired.revert_attempts,
        desired.revert_error,
    )


def _described(desired: DesiredMode) -> object:
    return {_name(desired): {"from": desired.value, "to": desired.revert_to}}


def _name(desired: DesiredMode) -> str:
    return f"{desired.mode} {desired.backend}".strip()
