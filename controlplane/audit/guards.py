"""What the database itself refuses, whoever asks: changing, deleting or replacing
entries, and adding one anywhere but at the end. Also its index of the text in
differences.

Whoever owns the table can take the guards away; verifying notices, and the signed
heads outside of the database tell what was done meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.generated import GeneratedField

from controlplane.audit.models import AuditEntry

TABLE = "audit_auditentry"

_SQLITE = {
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
_SQLITE_SEARCH = (
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
_POSTGRESQL_FUNCTIONS = (
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
_POSTGRESQL = {
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
_POSTGRESQL_SEARCH = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """
    CREATE INDEX audit_changes ON audit_auditentry
    USING gin (((document::json ->> 'diff')) gin_trgm_ops)""",
)


def install(connection: BaseDatabaseWrapper) -> None:
    """Set up what there is, in a database that has none of it."""
    if connection.vendor == "postgresql":
        _execute(connection, *_POSTGRESQL_FUNCTIONS, *_POSTGRESQL_SEARCH)
    else:
        _execute(connection, *_SQLITE_SEARCH)
    _raise(connection)


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """The names of triggers and computed columns that should be there and are not, or
    not as they were made, or are switched off."""
    return [*_missing_triggers(connection), *_missing_columns(connection)]


def _missing_columns(connection: BaseDatabaseWrapper) -> list[str]:
    computed = [
        field for field in AuditEntry._meta.concrete_fields if isinstance(field, GeneratedField)
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT attname FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attgenerated = 's'",
                [TABLE],
            )
            found = {name for (name,) in cursor.fetchall()}
            return [field.name for field in computed if field.column not in found]
        cursor.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %s", [TABLE])
        (made,) = cursor.fetchone()
    return [
        field.name
        for field in computed
        if f'"{field.column}" ' not in made
        or f"GENERATED ALWAYS AS ({field.generated_sql(connection)[0]}) VIRTUAL" not in made
    ]


def _missing_triggers(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT t.tgname, p.proname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
                "WHERE t.tgrelid = %s::regclass AND t.tgenabled IN ('O', 'A')",
                [TABLE],
            )
            found = dict(cursor.fetchall())
            expected = {
                name: "audit_refuse_insert" if name.endswith("insert") else "audit_refuse"
                for name in _POSTGRESQL
            }
        else:
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s",
                [TABLE],
            )
            found = {name: _plain(sql) for name, sql in cursor.fetchall()}
            expected = {name: _plain(sql) for name, sql in _SQLITE.items()}
    return [name for name, made in expected.items() if found.get(name) != made]


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
    return _POSTGRESQL if connection.vendor == "postgresql" else _SQLITE


def _execute(connection: BaseDatabaseWrapper, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _plain(sql: str) -> str:
    return " ".join(sql.split())
