"""Going back to an earlier revision of an agent's configuration."""

import json
import uuid
from dataclasses import dataclass

from controlplane.audit.actors import Actor
from controlplane.configuration import services as configuration
from controlplane.configuration.errors import NothingToRestore, NotRestorable, RevisionNotFound
from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.configuration.reading import read_configuration
from controlplane.configuration.schema import Keys, mutable_keys, problems, secret_keys
from controlplane.configuration.values import Diff, Values, difference, show, shows_secret
from controlplane.fleet.models import Agent, Dialect
from controlplane.operations.calls import read_call
from controlplane.operations.effects import ChangeConfiguration
from controlplane.operations.services import Performed, carry_out
from engine.contract import ContractError, endpoint

_WAS_ACTIVE = (RevisionState.ACTIVE, RevisionState.SUPERSEDED)


@dataclass(frozen=True)
class Preview:
    """What a rollback would do."""

    active: ConfigRevision
    target: ConfigRevision
    changes: Diff
    """What would be sent: from the active value to the old one."""
    left: Diff
    """What differs too, and cannot be changed while the agent runs."""
    problems: dict[str, str]
    """Keys whose old value the agent does not take any more, and why."""


@dataclass(frozen=True)
class _Plan:
    preview: Preview
    changes: dict[str, object]
    """Secrets in the clear."""


def preview_rollback(agent: Agent, number: int, *, request_id: str, timeout: float) -> Preview:
    """What rolling back to that revision would do, by the agent's own schema of now.
    Raises RevisionNotFound, ContractError (409) for a revision that never was
    active, and AgentFailure."""
    ends = _find_ends(agent.name, number)
    observed = read_configuration(agent, request_id=request_id, timeout=timeout)
    return _plan(*ends, observed.keys).preview


def foresee_rollback(agent: str, number: int) -> Preview:
    """As preview_rollback, by the schema that the agent told last: nobody is asked."""
    return _plan(*_find_ends(agent, number), configuration.known_schema(agent)).preview


def foresee_between(active: ConfigRevision | None, target: ConfigRevision, keys: Keys) -> Preview:
    """As foresee_rollback, of an agent whose revisions and schema are at hand. Raises
    RevisionNotFound without an active one, and ContractError (409)."""
    return _plan(*_checked(active, target), keys).preview


def roll_back(
    agent: Agent,
    number: int,
    *,
    expected: int | None,
    actor: Actor,
    reason: str,
    request_id: str,
    timeout: float,
    undo_of: uuid.UUID | None = None,
) -> Performed:
    """Make a new revision with the values of an old one. Raises what
    preview_rollback raises, NotRestorable, NothingToRestore, RevisionConflict, and
    what perform() raises."""
    ends = _find_ends(agent.name, number)
    observed = read_configuration(agent, request_id=request_id, timeout=timeout)
    plan = _plan(*ends, observed.keys)
    active = plan.preview.active
    configuration.check_expected(agent.name, active, expected)
    if plan.preview.problems:
        raise NotRestorable(agent.name, number, plan.preview.problems)
    if not plan.changes:
        raise NothingToRestore(agent.name, number)
    atomic = "" if agent.dialect == Dialect.LMCACHE else "atomic=true"
    call = read_call(endpoint("update_conf"), atomic, json.dumps(plan.changes).encode())
    effect = ChangeConfiguration(plan.changes, Source.ROLLBACK, active.number, number)
    return carry_out(
        call,
        effect,
        [agent],
        actor=actor,
        reason=reason,
        request_id=request_id,
        timeout=timeout,
        undo_of=undo_of,
    )


def _find_ends(agent: str, number: int) -> tuple[ConfigRevision, ConfigRevision]:
    """The active revision, and the one to go back to."""
    target = configuration.find_revision(agent, number)
    return _checked(configuration.find_active(agent), target)


def _checked(
    active: ConfigRevision | None, target: ConfigRevision
) -> tuple[ConfigRevision, ConfigRevision]:
    if target.state not in _WAS_ACTIVE:
        raise ContractError(
            409,
            "Revision was never active",
            f"Revision {target.number} of agent '{target.agent}' is {target.state}; choose one "
            "that was active.",
        )
    if active is None:
        raise RevisionNotFound(target.agent, "active revision")
    return active, target


def _plan(active: ConfigRevision, target: ConfigRevision, keys: Keys) -> _Plan:
    now, then = configuration.real_values(active), configuration.real_values(target)
    differing = {key: then[key] for key in difference(now, then) if key in then and key in now}
    settable = mutable_keys(keys) if keys else frozenset(differing)
    # A key that the agent dropped is a problem to be told, not to be left out.
    changes = {
        key: value
        for key, value in differing.items()
        if (key in settable or (keys and key not in keys)) and not shows_secret(value)
    }
    hidden = secret_keys(keys)
    left = {key: value for key, value in differing.items() if key not in changes}
    return _Plan(
        Preview(
            active,
            target,
            _shown(now, changes, hidden),
            _shown(now, left, hidden),
            problems(keys, changes) if keys else {},
        ),
        changes,
    )


def _shown(now: Values, then: Values, hidden: frozenset[str]) -> Diff:
    before = show({key: now[key] for key in then}, hidden)
    after = show(then, hidden)
    return {key: {"from": before[key], "to": after[key]} for key in then}
