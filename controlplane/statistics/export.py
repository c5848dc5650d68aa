"""Snapshots as CSV (RFC 4180)."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db.models import Q, QuerySet

from controlplane.statistics.models import Snapshot

Kind = TypeVar("Kind", bound=Snapshot)
ROWS_AT_ONCE = 500
CHUNK_COLUMNS = (
    *("id", "agent", "engine", "taken_at", "reported_at", "trigger", "boot_id", "run"),
    *("enabled", "strategy", "total_requests", "total_chunks", "unique_chunks"),
    *("duplicate_chunks", "reuse_rate", "resolution_s", "counters"),
)
TIER_COLUMNS = (
    *("id", "agent", "engine", "taken_at", "trigger", "boot_id", "run"),
    *("requested_tokens", "retrieved_tokens", "stored_tokens", "resolution_s", "tiers"),
)
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


def csv_lines(snapshots: QuerySet[Kind], columns: Sequence[str]) -> Iterator[str]:
    """A line of the names of the columns, `id` among them, then one line for each snapshot:
    times in ISO 8601 (UTC), objects as JSON. Text that a spreadsheet would take for a formula
    begins with an apostrophe.

    Their order is that of `order_by()`, which may name `id` and `taken_at`; what is equal
    in it follows in the order of the ids. ROWS_AT_ONCE are read at once, and from one read
    to the next nothing is held, so each line may be asked for by another thread.

    Raises django.db.DatabaseError.
    """
    writer = csv.writer(_Echo())
    yield writer.writerow(columns)
    for row in _rows(snapshots, columns):
        yield writer.writerow([_cell(value) for value in row])


def _rows(snapshots: QuerySet[Kind], columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    order = _total([str(term) for term in snapshots.query.order_by])
    rows = snapshots.order_by(*order).values_list(*columns)
    page = list(rows[:ROWS_AT_ONCE])
    while page:
        yield from page
        if len(page) < ROWS_AT_ONCE:
            return
        last = dict(zip(columns, page[-1], strict=True))
        page = list(rows.filter(_after(last, order))[:ROWS_AT_ONCE])


def _total(order: Sequence[str]) -> list[str]:
    """The order, with the id at its end unless it is in it, in which no two are equal."""
    if "id" in order or "-id" in order:
        return [*order]
    return [*order, "-id" if order and order[-1].startswith("-") else "id"]


def _after(last: Mapping[str, Any], order: Sequence[str]) -> Q:
    """What comes after the row `last`."""
    after, equal = Q(), Q()
    for term in order:
        after |= equal & _beyond(last, term, "")
        equal &= Q((term.removeprefix("-"), last[term.removeprefix("-")]))
    # Says nothing new, but an index serves it, and none serves an OR.
    return _beyond(last, order[0], "e") & after


def _beyond(last: Mapping[str, Any], term: str, or_equal: str) -> Q:
    field = term.removeprefix("-")
    than = "lt" if term.startswith("-") else "gt"
    return Q((f"{field}__{than}{or_equal}", last[field]))


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, line: str) -> str:
        return line


def _cell(value: Any) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, str) and value.startswith(_FORMULA_BEGINS):
        return f"'{value}"
    return value
