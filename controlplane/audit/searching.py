"""Searching the log so that a page costs the same at a hundred entries and a million.

Numbers and moments grow together, so a stretch of time is a stretch of numbers, and
every filter is a range of one index that ends with the number. Text is looked up in the
database's own index of differences (`guards.py`).
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from django.db import connections, router
from django.db.models import BigIntegerField, BooleanField, QuerySet
from django.db.models.expressions import RawSQL

from controlplane.audit.models import AuditEntry

MIN_TEXT = 3
"""Characters: what the indexes are made of."""
_NUMBER = "number"
# From how many entries on it is soon enough to read entries until a page is full.
# PostgreSQL takes a few milliseconds to come across a hundred of them.
_COMMON = {"sqlite": 2_000, "postgresql": 200}
_FREQUENT = 20_000
ANY_VALUES: Mapping[str, Any] = {}


def number_of_entries() -> int:
    """How many entries there are, archived ones left out; counting costs next to nothing
    beside what reads all of them."""
    return AuditEntry.objects.count()


def first_at(moment: datetime) -> int | None:
    """The number of the first entry at that moment or later; None if there is none."""
    found = AuditEntry.objects.filter(created_at__gte=moment).order_by("created_at", "id")
    return found.values_list("pk", flat=True).first()


def since(entries: QuerySet[AuditEntry], moment: datetime) -> QuerySet[AuditEntry]:
    """Those at that moment or later."""
    first = first_at(moment)
    return entries.none() if first is None else entries.filter(pk__gte=first)


def until(entries: QuerySet[AuditEntry], moment: datetime) -> QuerySet[AuditEntry]:
    """Those before that moment."""
    first = first_at(moment)
    return entries if first is None else entries.filter(pk__lt=first)


def equal_to(entries: QuerySet[AuditEntry], values: Mapping[str, Any]) -> QuerySet[AuditEntry]:
    """Those whose columns have exactly these values.

    SQLite uses one index of a table, and would read and take apart every entry that the
    first of several values has: so the rarest value leads, and whether an entry has the
    others as well is looked up in their indexes.
    """
    if len(values) < 2 or connections[entries.db].vendor == "postgresql":
        return entries.filter(**values)
    first, *others = sorted(values, key=lambda column: _frequency(column, values[column]))
    entries = entries.filter(**{first: values[first]})
    for column in others:
        entries = entries.filter(_is_among(column, values[column], "audit_auditentry.id"))
    return entries


def _frequency(column: str, value: Any) -> int:
    """How many entries have that value; _FREQUENT at most."""
    found = AuditEntry.objects.filter(**{column: value}).order_by(column, "id")
    return found[:_FREQUENT].count()


def _is_frequent(column: str, value: Any) -> bool:
    return _frequency(column, value) >= _FREQUENT


def _is_among(column: str, value: Any, number: str) -> RawSQL:
    """A condition: the entry of that number is in the column's index under that value. Left
    to itself, SQLite would find the one entry by its number and read it."""
    (index,) = [one.name for one in AuditEntry._meta.indexes if one.fields == [column, "id"]]
    field = cast(Any, AuditEntry._meta.get_field(column)).output_field
    connection = connections[router.db_for_read(AuditEntry)]
    statement = (
        f"EXISTS (SELECT 1 FROM audit_auditentry AS alike INDEXED BY {index} "  # noqa: S608
        f"WHERE alike.{column} = %s AND alike.id = {number})"
    )
    prepared = field.get_db_prep_value(value, connection)
    return RawSQL(statement, [prepared], BooleanField())  # noqa: S611


def containing(
    entries: QuerySet[AuditEntry], text: str, values: Mapping[str, Any] = ANY_VALUES
) -> QuerySet[AuditEntry]:
    """Those with the text in their difference, which is canonical JSON, whether in upper
    or lower case (on SQLite, once it is common, that holds for ASCII letters only), and
    whose columns have exactly these values. At least MIN_TEXT characters."""
    # As it stands inside of a JSON string.
    written = json.dumps(text, ensure_ascii=False)[1:-1]
    vendor = connections[entries.db].vendor
    numbers = _numbers_of_some(written, _COMMON[vendor])
    if len(numbers) < _COMMON[vendor]:
        return equal_to(entries, values).filter(pk__in=numbers)
    is_read = vendor == "postgresql" or bool(entries.query.where)
    if is_read or not all(_is_frequent(column, value) for column, value in values.items()):
        # There are enough of them to come across soon, or few to read.
        condition = _reads("audit_auditentry.document")
        found = equal_to(entries, values)
        return found.extra(where=[condition], params=[_pattern(written)])  # noqa: S610
    found = entries.extra(
        tables=["audit_changes"],
        where=["audit_changes.rowid = audit_auditentry.id", "audit_changes MATCH %s"],
        params=[_phrase(written)],
    )
    for column, value in values.items():
        found = found.filter(_is_among(column, value, "audit_changes.rowid"))
    number = RawSQL("audit_changes.rowid", [], BigIntegerField())
    return found.annotate(**{_NUMBER: number})


def _numbers_of_some(written: str, most: int) -> list[int]:
    """The numbers of entries with the text, `most` of them at most."""
    with connections[router.db_for_read(AuditEntry)].cursor() as cursor:
        if cursor.db.vendor == "postgresql":
            condition, value = _reads("document"), _pattern(written)
            statement = f"SELECT id FROM audit_auditentry WHERE {condition} LIMIT {most}"  # noqa: S608
        else:
            value = _phrase(written)
            statement = f"SELECT rowid FROM audit_changes WHERE audit_changes MATCH %s LIMIT {most}"  # noqa: S608
        cursor.execute(statement, [value])
        return [number for (number,) in cursor.fetchall()]


def _reads(document: str) -> str:
    """A condition without an index of text; on PostgreSQL exactly the expression of it,
    which may be used or not."""
    if connections[router.db_for_read(AuditEntry)].vendor == "postgresql":
        return f"({document}::json ->> 'diff') ILIKE %s"
    return f"json_extract({document}, '$.diff') LIKE %s ESCAPE '\\'"


def _phrase(written: str) -> str:
    return '"' + written.replace('"', '""') + '"'


def _pattern(written: str) -> str:
    escaped = written.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"


def number_of(entries: QuerySet[AuditEntry]) -> str:
    """The name under which to order by the number, and to begin after one. SQLite finds
    text in the order of its index's own numbers; asked for those of the entries, it
    would find everything and sort it."""
    return _NUMBER if _NUMBER in entries.query.annotations else "id"
