"""What people see: tables, made of what scripts get."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich import box
from rich.table import Table
from rich.text import Text

_MAX_CELL = 600
_GOOD = frozenset({"succeeded", "ok", "online", "active", "applied"})
_DOUBTFUL = frozenset(
    {"partially_failed", "unknown", "warn", "running", "pending", "cancelled", "superseded"}
)
_BAD = frozenset({"failed", "bad", "offline"})


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A table of anything, one line of names above."""
    made = Table(
        title=title or None, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD
    )
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def pairs(document: Mapping[str, object], title: str = "") -> Table:
    """A table of names and values."""
    return table(("", ""), document.items(), title)


def cell(value: object) -> Text:
    """A value as it stands in a table."""
    text = printable(plain(value))
    if len(text) > _MAX_CELL:
        text = f"{text[:_MAX_CELL]}…"
    return Text(text, style=_style(text))


def printable(text: str) -> str:
    """Text that cannot steer a terminal, whoever wrote it; lines stay lines."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\ufffd"
        for character in text
    )


def plain(value: object) -> str:
    """A value as text."""
    if value is None or value == "":
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping) and all(
        not isinstance(v, Mapping | list) for v in value.values()
    ):
        return "\n".join(f"{name}: {plain(item)}" for name, item in value.items())
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str)
    return str(value)


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _style(text: str) -> str:
    if text in _GOOD:
        return "green"
    if text in _DOUBTFUL:
        return "yellow"
    return "red" if text in _BAD else ""
