"""Picking named entries out of a mapping, in the order asked."""

from collections.abc import Mapping

from engine.contract import InvalidParameter, Values
from engine.contract.values import shorten

_MOST_NAMED = 5


def select(
    entries: Mapping[str, object], values: Values, *, error: str, noun: str, path: str
) -> dict[str, object]:
    """The entries that the parameter `names` asks for; all of them without it.
    Raises InvalidParameter naming every name (at most five) that is unknown."""
    names = values.get("names")
    if not isinstance(names, list) or not names:
        return dict(entries)
    unknown = [name for name in names if name not in entries]
    if unknown:
        shown = ", ".join(f"'{shorten(name)}'" for name in unknown[:_MOST_NAMED])
        raise InvalidParameter(
            "names", f"No {noun} {shown}. GET {path} without 'names' lists all.", error=error
        )
    return {name: entries[name] for name in names}
