"""Keys of an agent whose new value its lookup has not taken up yet."""

from datetime import UTC, datetime

from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.configuration.schema import Keys, applies_at_recreate
from controlplane.fleet.models import Agent
from controlplane.operations.models import Operation, State

_TAKES_UP = ("lookup.recreate", "lookup.create")
_CAME_TO_PASS = (RevisionState.ACTIVE, RevisionState.SUPERSEDED)
_NEWEST = 100
_LONG_AGO = datetime.fromtimestamp(0, UTC)


def waiting_keys(agent: Agent, keys: Keys) -> frozenset[str]:
    """Those that were changed, in the newest hundred revisions since the agent's start,
    and after which the lookup was not made anew. Two queries at most."""
    taken_up = applies_at_recreate(keys)
    if not taken_up:
        return frozenset()
    changes = [
        (settled_at, taken_up.intersection(diff))
        for settled_at, diff in _changes_since(agent, _started_at(agent))
        if taken_up.intersection(diff)
    ]
    if not changes:
        return frozenset()
    made_anew = _made_anew(agent)
    still = [names for settled_at, names in changes if made_anew is None or settled_at >= made_anew]
    return frozenset().union(*still)


def _changes_since(agent: Agent, started_at: datetime) -> list[tuple[datetime, dict[str, object]]]:
    found = ConfigRevision.objects.filter(
        agent=agent.name, state__in=_CAME_TO_PASS, settled_at__gte=started_at
    ).exclude(source=Source.IMPORT)
    rows = found.order_by("-number").values_list("settled_at", "diff")[:_NEWEST]
    return [(settled_at, diff) for settled_at, diff in rows if settled_at is not None]


def _made_anew(agent: Agent) -> datetime | None:
    """When somebody asked last for the lookup to be made anew, and it was; None: never."""
    done = Operation.objects.filter(
        action__in=_TAKES_UP, targets__agent=agent.name, targets__state=State.SUCCEEDED
    )
    return done.order_by("-id").values_list("created_at", flat=True).first()


def _started_at(agent: Agent) -> datetime:
    """As the agent tells it; long ago if it does not."""
    told = agent.last_status.get("started_at")
    if not isinstance(told, int | float) or isinstance(told, bool):
        return _LONG_AGO
    try:
        return datetime.fromtimestamp(told, UTC)
    except (ValueError, OverflowError, OSError):
        return _LONG_AGO
