"""Entries as files: CSV for spreadsheets, JSON Lines for everything else."""

from collections.abc import Iterator

from django.db.models import QuerySet

from controlplane.audit.archiving import archive_line
from controlplane.audit.models import AuditEntry
from controlplane.audit.searching import number_of
from controlplane.rest.csv import csv_line

_PAGE = 500
COLUMNS = (
    "id",
    "created_at",
    "stage",
    "action",
    "outcome",
    "status",
    "duration_ms",
    "actor_kind",
    "actor_name",
    "actor_ref",
    "on_behalf_of",
    "source_address",
    "user_agent",
    "target",
    "agent",
    "engine",
    "reason",
    "request_id",
    "operation_id",
    "request",
    "answer",
    "before",
    "after",
    "diff",
    "key_id",
    "previous",
    "mac",
)


def csv_lines(entries: QuerySet[AuditEntry]) -> Iterator[str]:
    """A line of names, then one for each entry, oldest first. Raises
    django.db.DatabaseError."""
    yield csv_line(COLUMNS)
    for entry in _in_pages(entries):
        yield csv_line(getattr(entry, name) for name in COLUMNS)


def json_lines(entries: QuerySet[AuditEntry]) -> Iterator[str]:
    """Each entry in a line as archives have it, which its mac can be checked with;
    oldest first. Raises django.db.DatabaseError."""
    for entry in _in_pages(entries):
        row = (entry.key_id, entry.previous, entry.mac, entry.document)
        key_id, previous, mac, document = (value.encode() for value in row)
        yield archive_line((entry.pk, key_id, previous, mac, document)).decode()


def _in_pages(entries: QuerySet[AuditEntry]) -> Iterator[AuditEntry]:
    """By number, a page at a time: nothing stays open while somebody reads slowly. What
    is added meanwhile is left out, or there might be no end."""
    number = number_of(entries)
    last = entries.order_by(f"-{number}").values_list("pk", flat=True).first()
    after = 0
    while last is not None:
        some = entries.filter(**{f"{number}__gt": after, f"{number}__lte": last})
        page = list(some.order_by(number)[:_PAGE])
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].pk
