"""Ending modes whose time is up."""

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from controlplane.fleet.models import Agent
from controlplane.modes.models import DesiredMode, Mode, ModeSource
from controlplane.modes.services import Switch, Wish
from controlplane.operations.calls import read_call
from controlplane.operations.effects import ReplaceMode, Superseded, call_for
from controlplane.operations.importing import CONTROLLER
from controlplane.operations.services import carry_out
from engine.contract import endpoint


def expire_modes(agent: Agent, request_id: str) -> bool:
    """Revert the agent's modes whose time is up; whether there were any."""
    expired = list(DesiredMode.objects.filter(agent=agent.name, expires_at__lte=timezone.now()))
    for desired in expired:
        if desired.revert_to is None or desired.revert_to == desired.value:
            _let_it_last(desired)
        else:
            _revert(agent, desired, desired.revert_to, request_id)
    return bool(expired)


def _let_it_last(desired: DesiredMode) -> None:
    """It was so before, for good: only the end goes."""
    with transaction.atomic():
        DesiredMode.objects.filter(pk=desired.pk, change_id=desired.change_id).update(
            expires_at=None, revert_to=None
        )


def _revert(agent: Agent, desired: DesiredMode, value: bool, request_id: str) -> None:  # noqa: FBT001
    switch = Switch(Mode(desired.mode), desired.backend)
    operation_id, query = call_for(switch, value=value)
    wish = Wish(switch, value, source=ModeSource.EXPIRY)
    try:
        carry_out(
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
