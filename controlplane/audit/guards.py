"""What the database itself refuses, whoever asks: changing, deleting or replacing
entries, and adding one anywhere but at the end. Also its index of the text in
differences.

Whoever owns the table can take the guards away; verifying notices (`inspection.py`), and
the signed heads outside of the database tell what was done meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "audit_auditentry"

SQLITE = {
    "audit_refuse_update": """
        CREATE TRIGGER audit_refuse_update BEFORE UPDATE ON audit_auditentry
        BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END""",
    "audit_refuse_delete": """
        CREATE TRIGGER audit_refuse_delete BEFORE DELETE ON audit_auditentry
        BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above.
    "audit_refuse_insert": """
        CREATE TRIGGER audit_refuse_insert BEFORE INSERT ON audit_auditentry
        WHEN NEW.id <= (SELECT coalesce(max(id), 0) FROM audit_auditentry)
        BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END""",
}
SQLITE_SEARCH = (
    "CREATE VIRTUAL TABLE audit_changes USING fts5(changes, content='', tokenize='trigram')",
    """
    CREATE TRIGGER audit_index_changes AFTER INSERT ON audit_auditentry
    WHEN json_extract(NEW.document, '$.diff') IS NOT NULL
    BEGIN INSERT INTO audit_changes(rowid, changes)
    VALUES (NEW.id, json_extract(NEW.document, '$.diff')); END""",
    """
    CREATE TRIGGER audit_forget_changes AFTER DELETE ON audit_auditentry
    WHEN json_extract(OLD.document, '$.diff') IS NOT NULL
    BEGIN INSERT INTO audit_changes(audit_changes, rowid, changes)
    VALUES ('delete', OLD.id, json_extract(OLD.document, '$.diff')); END""",
)
POSTGRESQL_FUNCTIONS = (
    """
    CREATE FUNCTION audit_refuse() RETURNS trigger AS $$
    BEGIN RAISE EXCEPTION 'audit entries are append-only'
    USING ERRCODE = 'integrity_constraint_violation'; END
    $$ LANGUAGE plpgsql""",
    """
    CREATE FUNCTION audit_refuse_insert() RETURNS trigger AS $$
    BEGIN
      IF NEW.id <= (SELECT coalesce(max(id), 0) FROM audit_auditentry) THEN
        RAISE EXCEPTION 'audit entries are append-only'
        USING ERRCODE = 'integrity_constraint_violation';
      END IF;
      RETURN NEW;
    END
    $$ LANGUAGE plpgsql""",
)
POSTGRESQL = {
    "audit_refuse_update": """
        CREATE TRIGGER audit_refuse_update BEFORE UPDATE ON audit_auditentry
        FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
    "audit_refuse_delete": """
        CREATE TRIGGER audit_refuse_delete BEFORE DELETE ON audit_auditentry
        FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
    "audit_refuse_truncate": """
        CREATE TRIGGER audit_refuse_truncate BEFORE TRUNCATE ON audit_auditentry
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()""",
    "audit_refuse_insert": """
        CREATE TRIGGER audit_refuse_insert BEFORE INSERT ON audit_auditentry
        FOR EACH ROW EXECUTE FUNCTION audit_refuse_insert()""",
}
# An operator class for text that begins anywhere, from the extension pg_trgm.
POSTGRESQL_SEARCH = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """
    CREATE INDEX audit_changes ON audit_auditentry
    USING gin (((document::json ->> 'diff')) gin_trgm_ops)""",
)


def install(connection: BaseDatabaseWrapper) -> None:
    """Set up what there is, in a database that has none of it."""
    if connection.vendor == "postgresql":
        _execute(connection, *POSTGRESQL_FUNCTIONS, *POSTGRESQL_SEARCH)
    else:
        _execute(connection, *SQLITE_SEARCH)
    _raise(connection)


@contextmanager
def lifted(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Without guards, for whoever archives, inside of a transaction: if that fails,
    nothing was ever unguarded."""
    suffix = " ON audit_auditentry" if connection.vendor == "postgresql" else ""
    _execute(connection, *(f"DROP TRIGGER IF EXISTS {name}{suffix}" for name in _made(connection)))
    yield
    _raise(connection)


def _raise(connection: BaseDatabaseWrapper) -> None:
    _execute(connection, *_made(connection).values())


def _made(connection: BaseDatabaseWrapper) -> dict[str, str]:
    return POSTGRESQL if connection.vendor == "postgresql" else SQLITE


def _execute(connection: BaseDatabaseWrapper, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
