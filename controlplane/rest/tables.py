"""A list as a table that leads to each of its rows."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse

from controlplane.rest.links import agent_page

# The API gives moments in UTC; a table needs no more of them than this.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)")


@dataclass(frozen=True)
class Cell:
    """What a row has in one column; the URL is empty where nothing is to be followed."""

    text: str
    url: str


@dataclass(frozen=True)
class Table:
    """A page of a list."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def table_of(view: Any, rows: Iterable[Mapping[str, Any]]) -> Table:
    """The rows, with the columns that the view names. The first column leads to the row's
    own page where rows have one, and a column of agents to theirs. Asks the database for
    nothing."""
    columns: Sequence[str] = view.columns
    return Table(columns, [_row(view, columns, row) for row in rows])


def _row(view: Any, columns: Sequence[str], row: Mapping[str, Any]) -> list[Cell]:
    own = _own_page(view, row)
    return [
        Cell(
            _text(row.get(column)),
            own if own and number == 0 else _url(column, row.get(column)),
        )
        for number, column in enumerate(columns)
    ]


def _own_page(view: Any, row: Mapping[str, Any]) -> str:
    if not hasattr(view, "retrieve"):
        return ""
    key = view.lookup_url_kwarg or view.lookup_field
    return reverse(f"{view.basename}-detail", args=[row["id" if key == "pk" else key]])


def _url(column: str, value: object) -> str:
    return agent_page(str(value)) if column == "agent" and value else ""


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str) and (moment := _MOMENT.match(value)):
        return f"{moment[1]} {moment[2]}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)
