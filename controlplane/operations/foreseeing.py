"""What taking an operation back would send, by what is on record: nobody is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.configuration import services as configuration
from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.configuration.schema import Keys
from controlplane.configuration.values import shows_secret
from controlplane.modes import services as modes
from controlplane.modes.models import DesiredMode, ModeChangeState
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
    )


def _foresee(agent: str, begun: Begun | None, known: _OnRecord) -> Foreseen:
    try:
        call = _call(agent, begun, known)
    except ContractError as error:
        return Foreseen(agent, None, error.message)
    if call is None:
        return Foreseen(agent, None, "By what is on record there is nothing to send.")
    return Foreseen(agent, call)


def _call(agent: str, begun: Begun | None, known: _OnRecord) -> PlannedCall | None:
    """None: there is no way back, or the agent is there already."""
    if isinstance(begun, BegunModeChange):
        wish = modes.wish_before(begun.change)
        desired = known.desired[agent].get(wish.switch)
        if begun.change.state == ModeChangeState.APPLIED and modes.agrees(desired, wish):
            return None
        operation_id, query = call_for(wish.switch, value=wish.value)
        return PlannedCall(endpoint(operation_id), query)
    if isinstance(begun, BegunRevision) and agent in known.parents:
        values = _values_before(begun.revision, known)
        return PlannedCall(endpoint("update_conf"), "atomic=true", values) if values else None
    return None


def _values_before(revision: ConfigRevision, known: _OnRecord) -> dict[str, object]:
    """Raises ContractError for a revision that cannot be gone back to."""
    parent = known.parents[revision.agent]
    if revision.state == RevisionState.UNKNOWN:
        # Nobody knows what of it was done: all that was asked for is sent as it was.
        return {
            key: parent.values[key]
            for key in revision.requested
            if key in parent.values and not shows_secret(parent.values[key])
        }
    if not revision.diff:
        return {}
    active = known.active.get(revision.agent)
    changes = foresee_between(active, parent, known.schemas.get(revision.agent, {})).changes
    return {key: sides["to"] for key, sides in changes.items()}
