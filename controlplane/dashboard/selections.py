"""The agents that somebody selected, kept in the session: the names of many make an address
that servers refuse."""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from django.contrib.sessions.backends.base import SessionBase

KEPT = 5
"""Selections of one session, one for each window with a question that is not answered yet."""
_MOST_AGENTS = 10_000
"""Names in all selections together, of which the newest stays in any case: they are read
with every request."""
_MOST_FILTERS = 2_000
_KEY = "dashboard_selections"


@dataclass(frozen=True)
class Selection:
    """Names of agents, and the filters of the page on which they were selected, as its
    address writes them."""

    agents: Sequence[str] = ()
    filters: str = ""


def keep(session: SessionBase, selection: Selection) -> str:
    """Keep it until it is forgotten, the session ends or newer ones push it out; the name by
    which it is recalled. Filters of more than 2,000 characters are not kept."""
    name = secrets.token_urlsafe(9)
    filters = selection.filters if len(selection.filters) <= _MOST_FILTERS else ""
    kept = {name: {**asdict(selection), "filters": filters}}
    count = len(selection.agents)
    for older, found in [*reversed(session.get(_KEY, {}).items())][: KEPT - 1]:
        count += len(found["agents"])
        if count > _MOST_AGENTS:
            break
        kept[older] = found
    session[_KEY] = dict(reversed(kept.items()))
    return name


def forget(session: SessionBase, name: str) -> None:
    """Nothing needs it any more."""
    kept = session.get(_KEY, {})
    if name in kept:
        session[_KEY] = {other: found for other, found in kept.items() if other != name}


def recall(session: SessionBase, name: str) -> Selection:
    """The selection of that name; an empty one for a name that is not known, or not any
    more."""
    found = session.get(_KEY, {}).get(name)
    return Selection() if found is None else Selection(**found)
