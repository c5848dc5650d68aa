"""Lines of CSV (RFC 4180)."""

import csv
import json
from collections.abc import Iterable
from datetime import UTC, datetime

_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


def csv_line(values: Iterable[object]) -> str:
    """One line: times in ISO 8601 (UTC), objects and lists as JSON. Text that a
    spreadsheet would take for a formula begins with an apostrophe."""
    line: str = csv.writer(_Echo()).writerow([_cell(value) for value in values])
    return line


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, line: str) -> str:
        return line


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA_BEGINS):
        return f"'{value}"
    return value
