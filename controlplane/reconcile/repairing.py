"""Putting an agent back into what it should be: operations by the controller."""

import json

from django.conf import settings

from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision
from controlplane.configuration.schema import applies_at_recreate
from controlplane.configuration.services import Observed
from controlplane.configuration.values import Diff, shows_secret
from controlplane.fleet.models import Agent
from controlplane.modes.models import Mode
from controlplane.modes.services import Switch
from controlplane.operations.calls import read_call
from controlplane.operations.effects import (
    Effect,
    NoEffect,
    RestoreConfiguration,
    RestoreMode,
    Superseded,
    call_for,
)
from controlplane.operations.importing import CONTROLLER
from controlplane.operations.services import Performed, carry_out
from controlplane.reconcile.drift import ModeDrift
from engine.contract import Role, endpoint

Configuration = tuple[ConfigRevision, Observed, Diff]
"""What should be, what is, and the keys that are to be put back."""


def repair(
    agent: Agent, found: Configuration | None, drifts: list[ModeDrift], request_id: str
) -> str:
    """Put back what differs; "" or what went wrong. What was changed meanwhile by
    somebody is left. Raises ContractError if a repair cannot be put on record."""
    problems: list[str] = []
    # Freeze last: what is frozen is then what the other switches left.
    ordered = sorted(drifts, key=lambda drift: drift.desired.mode == Mode.FREEZE)
    try:
        if found is not None and found[2]:
            problems += _put_back_configuration(agent, *found, request_id)
        for drift in ordered:
            problems += _put_back_mode(agent, drift, request_id)
    except Superseded:
        return ""
    return "; ".join(problems)


def _put_back_configuration(
    agent: Agent, revision: ConfigRevision, observed: Observed, live: Diff, request_id: str
) -> list[str]:
    real = configuration.real_values(revision)
    values = {key: real[key] for key in live if not shows_secret(real[key])}
    if not values:
        return ["The secrets that differ are not known; set them anew with POST /conf."]
    named = ", ".join(sorted(values))
    performed = _do(
        agent,
        "update_conf",
        "",
        json.dumps(values).encode(),
        RestoreConfiguration(revision.number),
        f"back to revision {revision.number}: {named}"[:400],
        request_id,
    )
    problems = performed.problems()
    is_scheduler = agent.role == Role.SCHEDULER.value
    if not problems and is_scheduler and applies_at_recreate(observed.keys) & values.keys():
        performed = _do(
            agent, "recreate_lookup", "", None, NoEffect(), "takes up its keys", request_id
        )
        problems += performed.problems()
    return problems


def _put_back_mode(agent: Agent, drift: ModeDrift, request_id: str) -> list[str]:
    desired = drift.desired
    switch = Switch(Mode(desired.mode), desired.backend)
    operation_id, query = call_for(switch, value=desired.value)
    what = f"{desired.mode} {desired.backend}".strip()
    performed = _do(
        agent,
        operation_id,
        query,
        None,
        RestoreMode(switch, desired.change_id),
        f"back to {what} {'on' if desired.value else 'off'}",
        request_id,
    )
    return performed.problems()


def _do(
    agent: Agent,
    operation_id: str,
    query: str,
    body: bytes | None,
    effect: Effect,
    reason: str,
    request_id: str,
) -> Performed:
    return carry_out(
        read_call(endpoint(operation_id), query, body),
        effect,
        [agent],
        actor=CONTROLLER,
        reason=reason,
        request_id=request_id,
        timeout=settings.KVPLANE_AGENT_TIMEOUT,
    )
