"""The agents that somebody selected, kept in the session: the names of many make an address
that servers refuse."""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from django.contrib.sessions.backends.base import SessionBase

KEPT = 5
"""Selections of one session, one for each window with a question that is not answered yet."""
_KEY = "dashboard_selections"


@dataclass(frozen=True)
class Selection:
    """Names of agents, and the filters of the page on which they were selected, as its
    address writes them."""

    agents: Sequence[str] = ()
    filters: str = ""


def keep(session: SessionBase, selection: Selection) -> str:
    """Keep it for as long as the session lasts and KEPT newer ones do not push it out; the
    name by which it is recalled."""
    name = secrets.token_urlsafe(9)
    newer = list(session.get(_KEY, {}).items())[1 - KEPT :]
    session[_KEY] = {**dict(newer), name: asdict(selection)}
    return name


def recall(session: SessionBase, name: str) -> Selection:
    """The selection of that name; an empty one for a name that is not known, or not any
    more."""
    found = session.get(_KEY, {}).get(name)
    return Selection() if found is None else Selection(**found)
