"""Searching the log so that a page costs the same at a hundred entries and a million.

Numbers and moments grow together, so a stretch of time is a stretch of numbers, and
every filter is a range of one index that ends with the number. Text is looked up in the
database's own index of differences (`guards.py`).
"""

import json
from datetime import datetime
from typing import cast

from django.db import connections, router
from django.db.models import BigIntegerField, QuerySet
from django.db.models.expressions import RawSQL

from controlplane.audit.models import AuditEntry

MIN_TEXT = 3
"""Characters: what the indexes are made of."""
_NUMBER = "number"
_COMMON = 2000


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


def containing(entries: QuerySet[AuditEntry], text: str) -> QuerySet[AuditEntry]:
    """Those with the text in their difference, which is canonical JSON, whether in upper
    or lower case. At least MIN_TEXT characters."""
    # As it stands inside of a JSON string.
    written = json.dumps(text, ensure_ascii=False)[1:-1]
    if connections[entries.db].vendor == "postgresql":
        # Exactly the expression of the index.
        condition = "(audit_auditentry.document::json ->> 'diff') ILIKE %s"
        return entries.extra(where=[condition], params=[f"%{_escaped(written)}%"])  # noqa: S610
    if entries.query.where and _is_common(written):
        # The others choose; those are read. An index of text could not go on from there.
        return entries.extra(
            where=["json_extract(audit_auditentry.document, '$.diff') LIKE %s ESCAPE '\\'"],
            params=[f"%{_escaped(written)}%"],
        )
    phrase = _phrase(written)
    found = entries.extra(
        tables=["audit_changes"],
        where=["audit_changes.rowid = audit_auditentry.id", "audit_changes MATCH %s"],
        params=[phrase],
    )
    number = RawSQL("audit_changes.rowid", [], BigIntegerField())
    return cast(QuerySet[AuditEntry], found.annotate(**{_NUMBER: number}))


def _is_common(written: str) -> bool:
    """Whether so many differences have the text that one looks at fewer without the index
    of text. Counting ends there."""
    with connections[router.db_for_read(AuditEntry)].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM "
            "(SELECT 1 FROM audit_changes WHERE audit_changes MATCH %s LIMIT %s)",
            [_phrase(written), _COMMON],
        )
        return bool(cursor.fetchone()[0] == _COMMON)


def _phrase(written: str) -> str:
    return '"' + written.replace('"', '""') + '"'


def _escaped(written: str) -> str:
    return written.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def number_of(entries: QuerySet[AuditEntry]) -> str:
    """The name under which to order by the number, and to begin after one. SQLite finds
    text in the order of its index's own numbers; asked for those of the entries, it
    would find everything and sort it."""
    return _NUMBER if _NUMBER in entries.query.annotations else "id"
