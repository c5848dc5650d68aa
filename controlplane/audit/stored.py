"""Rows of the log as the database has them, past Django's models: a changed row need not
hold what a model expects."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from controlplane.audit.models import AuditEntry

_FIRST_PAGE = 250
_SMALLEST_PAGE, _LARGEST_PAGE = 20, 2_000
_PAGE_BYTES = 1 << 20
Row = tuple[int, bytes, bytes, bytes, bytes]
"""Number, key id, previous mac, mac, document: as bytes, because what is no text any more
could not even be read as such."""
Read = Callable[[BaseDatabaseWrapper, str, Sequence[int]], list[Row]]


def rows_after(number: int, until: int | None = None) -> Iterator[Row]:
    """Rows with a greater number, in order. They are read in pages of about a megabyte: a
    row may be some hundreds of bytes or of kilobytes, and asking costs as much as either.
    Raises django.db.DatabaseError."""
    connection = connections[router.db_for_read(AuditEntry)]
    columns, read = _WAYS.get(connection.vendor, _SQLITE)
    end = "" if until is None else "AND id <= %s"
    size = _FIRST_PAGE
    while True:
        statement = (
            f"SELECT id, {columns} FROM audit_auditentry "  # noqa: S608
            f"WHERE id > %s {end} ORDER BY id LIMIT {size}"
        )
        page = read(connection, statement, [number] if until is None else [number, until])
        yield from page
        if len(page) < size:
            return
        number = page[-1][0]
        mean = sum(len(row[4]) for row in page) // size
        size = max(_SMALLEST_PAGE, min(_PAGE_BYTES // max(1, mean), _LARGEST_PAGE))


def _read_sqlite(
    connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[int]
) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        page: list[Row] = cursor.fetchall()
    return page


def _read_postgresql(
    connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[int]
) -> list[Row]:
    """Text as the bytes that came over the wire: making text of them and bytes of that
    takes longer than hashing them."""
    # Loading libpq takes a tenth of a second, and SQLite needs none of it.
    from psycopg import Cursor
    from psycopg.types.string import ByteaBinaryLoader

    connection.ensure_connection()
    session: Any = connection.connection
    with connection.wrap_database_errors, Cursor(session) as cursor:
        for name in ("text", "varchar"):
            cursor.adapters.register_loader(name, ByteaBinaryLoader)
        cursor.execute(statement.encode(), parameters, binary=True)
        page: list[Row] = cursor.fetchall()
    return page


_SQLITE: tuple[str, Read] = (
    ", ".join(f"CAST({name} AS BLOB)" for name in ("key_id", "previous", "mac", "document")),
    _read_sqlite,
)
_WAYS = {"postgresql": ("key_id, previous, mac, document", _read_postgresql)}
