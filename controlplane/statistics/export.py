"""Snapshots as CSV (RFC 4180)."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet

from controlplane.statistics.models import ChunkStatisticsSnapshot
from engine.contract import ContractError

MAX_ROWS = 100_000
"""The server collects an answer before it sends it."""
_ROWS_AT_ONCE = 2_000
_COLUMNS = (
    "id",
    "agent",
    "engine",
    "taken_at",
    "reported_at",
    "trigger",
    "boot_id",
    "run",
    "enabled",
    "strategy",
    "total_requests",
    "total_chunks",
    "unique_chunks",
    "duplicate_chunks",
    "reuse_rate",
    "resolution_s",
    "counters",
)
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


class TooManyRows(ContractError):
    """There are more snapshots than one file is to hold."""

    def __init__(self) -> None:
        super().__init__(
            400,
            "Too many rows",
            f"More than {MAX_ROWS} snapshots match; narrow 'since' and 'until', or name an "
            "'agent'.",
        )


def csv_lines(snapshots: QuerySet[ChunkStatisticsSnapshot]) -> Iterator[str]:
    """A line of names, then one line for each snapshot, in their order: times in ISO 8601
    (UTC), counters as a JSON object. Text that a spreadsheet would take for a formula
    begins with an apostrophe.

    Raises TooManyRows (400) at once, not when the first line is asked for, and later
    django.db.DatabaseError.
    """
    if snapshots.values_list("pk")[MAX_ROWS : MAX_ROWS + 1].exists():
        raise TooManyRows
    return _lines(snapshots)


def _lines(snapshots: QuerySet[ChunkStatisticsSnapshot]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(_COLUMNS)
    for row in snapshots.values_list(*_COLUMNS).iterator(_ROWS_AT_ONCE):
        yield writer.writerow([_cell(value) for value in row])


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
