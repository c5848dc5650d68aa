"""What an agent looks chunks up with: a client, with what it is wrapped in, or a server."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.contract import Role

_NAME = re.compile(r"[^()]+")
_NONE = "None"


@dataclass(frozen=True)
class LookupChain:
    """`kind` is client or server; `links` are the class names, outermost first, and empty
    if it is closed."""

    kind: str
    links: Sequence[str]


def lookup_chain(status: Mapping[str, object], role: str) -> LookupChain | None:
    """What the agent said of it; None: it does not say."""
    lookup = status.get("lookup")
    kind = "client" if role == Role.SCHEDULER.value else "server"
    if not isinstance(lookup, Mapping) or not isinstance(lookup.get(kind), str):
        return None
    return LookupChain(kind, links_of(lookup[kind]))


def links_of(chain: object) -> list[str]:
    """`Outer(Inner)` as ["Outer", "Inner"]; nothing for "None"."""
    names = [name.strip() for name in _NAME.findall(str(chain))]
    return [name for name in names if name and name != _NONE]
