"""What taking an operation back would send, by what is on record: nobody is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.configuration.schema import Keys
from controlplane.configuration.values import shows_secret
from controlplane.fleet.models import Agent, Dialect
from controlplane.modes import services as modes
from controlplane.modes.models import DesiredMode, ModeChange, ModeChangeState
from controlplane.modes.services import Switch
from controlplane.operations.effects import (
    Begun,
    BegunModeChange,
    BegunRevision,
    call_for,
    find_all_begun,
)
from controlplane.operations.models import Operation
from controlplane.operations.rolling_back import foresee_between
from engine.contract import ContractError, Endpoint, endpoint

_NOTHING = "By what is on record there is nothing to send."
_CHANGED_SINCE = "It was changed since, and is left as it is."


@dataclass(frozen=True)
class PlannedCall:
    """A call that would be made; `document` is its body without secrets."""

    endpoint: Endpoint
    query: str = ""
    document: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Foreseen:
    """What one agent would be sent; `problem` says why nothing would be, "" if something
    would."""

    agent: str
    call: PlannedCall | None
    problem: str = ""


@dataclass(frozen=True)
class _OnRecord:
    """What is known of the agents."""

    desired: Mapping[str, Mapping[Switch, DesiredMode]]
    active: Mapping[str, ConfigRevision]
    parents: Mapping[str, ConfigRevision]
    schemas: Mapping[str, Keys]
    lmcache: frozenset[str]
    """Agents that do not know the query of the call."""


def foresee_undos(operation: Operation, agents: Sequence[str]) -> list[Foreseen]:
    """What Undoing.undo() would send to each of the agents, in their order. A handful of
    queries, whatever their number."""
    begun = find_all_begun(operation.pk, agents)
    known = _on_record(begun)
    return [_foresee(agent, begun.get(agent), known) for agent in agents]


def _on_record(begun: Mapping[str, Begun]) -> _OnRecord:
    revisions = [one.revision for one in begun.values() if isinstance(one, BegunRevision)]
    changed = [name for name, one in begun.items() if isinstance(one, BegunModeChange)]
    names = [revision.agent for revision in revisions]
    return _OnRecord(
        desired=modes.desired_of(changed) if changed else {},
        active=configuration.active_of(names) if names else {},
        parents=configuration.parents_of(revisions),
        schemas=configuration.known_schemas(names) if names else {},
        lmcache=_with_lmcache(names) if names else frozenset(),
    )


def _with_lmcache(names: Sequence[str]) -> frozenset[str]:
    found = Agent.objects.filter(name__in=names, dialect=Dialect.LMCACHE)
    return frozenset(found.values_list("name", flat=True))


def _foresee(agent: str, begun: Begun | None, known: _OnRecord) -> Foreseen:
    if isinstance(begun, BegunModeChange):
        return _foresee_mode(agent, begun.change, known)
    if isinstance(begun, BegunRevision) and agent in known.parents:
        try:
            return _foresee_revision(agent, begun.revision, known)
        except ContractError as error:
            return Foreseen(agent, None, error.message)
    return Foreseen(agent, None, _NOTHING)


def _foresee_mode(agent: str, change: ModeChange, known: _OnRecord) -> Foreseen:
    wish = modes.wish_before(change)
    desired = known.desired[agent].get(wish.switch)
    if change.state == ModeChangeState.APPLIED:
        if modes.agrees(desired, wish):
            return Foreseen(agent, None, _NOTHING)
        is_changed_since = desired is None or desired.change_id != change.pk
    else:
        is_changed_since = desired is not None and desired.change_id > change.pk
    if is_changed_since:
        return Foreseen(agent, None, _CHANGED_SINCE)
    operation_id, query = call_for(wish.switch, value=wish.value)
    return Foreseen(agent, PlannedCall(endpoint(operation_id), query))


def _foresee_revision(agent: str, revision: ConfigRevision, known: _OnRecord) -> Foreseen:
    """Raises ContractError for a revision that cannot be gone back to."""
    is_unknown = revision.state == RevisionState.UNKNOWN
    if not is_unknown and not revision.diff:
        return Foreseen(agent, None, _NOTHING)
    active = known.active.get(agent)
    # Until somebody finds out what was done, the revision before it stays the active one.
    own = revision.parent if is_unknown else revision.number
    if active is not None and active.number != own:
        return Foreseen(agent, None, _CHANGED_SINCE)
    parent = known.parents[agent]
    values = (
        _asked_for(revision, parent)
        if is_unknown
        else _differing(active, parent, known.schemas.get(agent, {}))
    )
    if not values:
        return Foreseen(agent, None, _NOTHING)
    query = "" if agent in known.lmcache else "atomic=true"
    return Foreseen(agent, PlannedCall(endpoint("update_conf"), query, values))


def _asked_for(revision: ConfigRevision, parent: ConfigRevision) -> dict[str, object]:
    """Nobody knows what of it was done: all that was asked for, as it was."""
    return {
        key: parent.values[key]
        for key in revision.requested
        if key in parent.values and not shows_secret(parent.values[key])
    }


def _differing(
    active: ConfigRevision | None, parent: ConfigRevision, keys: Keys
) -> dict[str, object]:
    changes = foresee_between(active, parent, keys).changes
    return {key: sides["to"] for key, sides in changes.items()}
