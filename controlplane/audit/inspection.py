"""Whether the database still does what `guards.py` and `columns.py` had it do, and
nothing else when entries are written."""

import re

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.generated import GeneratedField

from controlplane.audit import guards
from controlplane.audit.models import AuditEntry

_FUNCTION = re.compile(r"CREATE FUNCTION (\w+)\(\).*?\$\$(.*)\$\$", re.DOTALL)
_TRIGGER = re.compile(r"CREATE TRIGGER (\w+)")


def faults(connection: BaseDatabaseWrapper) -> list[str]:
    """The names of triggers, functions and computed columns that are missing, not as
    they were made, or switched off, and of what is there and is not ours. Raises
    django.db.DatabaseError."""
    if connection.vendor == "postgresql":
        return [
            *_differences(_triggers_wanted(), _triggers_on_postgresql(connection)),
            *_differences(_functions_wanted(), _functions_on_postgresql(connection)),
            *_other_ways_on_postgresql(connection),
            *_columns_on_postgresql(connection),
        ]
    return [
        *_differences(_sqlite_wanted(), _triggers_on_sqlite(connection)),
        *_columns_on_sqlite(connection),
    ]


def _differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    changed = [name for name, made in wanted.items() if found.get(name) != made]
    return changed + [f"{name} (not ours)" for name in found if name not in wanted]


def _computed() -> list["GeneratedField"]:
    fields = AuditEntry._meta.concrete_fields
    return [field for field in fields if isinstance(field, GeneratedField)]


def _sqlite_wanted() -> dict[str, str]:
    search = {
        match[1]: sql for sql in guards.SQLITE_SEARCH if (match := _TRIGGER.search(sql)) is not None
    }
    return {name: _plain(sql) for name, sql in {**guards.SQLITE, **search}.items()}


def _triggers_on_sqlite(connection: BaseDatabaseWrapper) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s "
            "UNION SELECT name, sql FROM sqlite_temp_master WHERE type = 'trigger' "
            "AND tbl_name = %s",
            [guards.TABLE, guards.TABLE],
        )
        return {name: _plain(sql) for name, sql in cursor.fetchall()}


def _columns_on_sqlite(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %s", [guards.TABLE]
        )
        (made,) = cursor.fetchone()
    return [
        field.name
        for field in _computed()
        if f'"{field.column}" ' not in made
        or f"GENERATED ALWAYS AS ({field.generated_sql(connection)[0]}) VIRTUAL" not in made
    ]


def _triggers_wanted() -> dict[str, str]:
    return {name: _plain(sql) for name, sql in guards.POSTGRESQL.items()}


def _triggers_on_postgresql(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Those that fire, as statements; in them tables are named without their schema."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname, pg_get_triggerdef(oid, true) FROM pg_trigger "
            "WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgenabled IN ('O', 'A')",
            [guards.TABLE],
        )
        return {name: _plain(sql) for name, sql in cursor.fetchall()}


def _functions_wanted() -> dict[str, str]:
    found = [_FUNCTION.search(sql) for sql in guards.POSTGRESQL_FUNCTIONS]
    return {match[1]: _plain(match[2]) for match in found if match is not None}


def _functions_on_postgresql(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """What the functions do that the triggers call."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT p.proname, p.prosrc FROM pg_trigger t JOIN pg_proc p "
            "ON p.oid = t.tgfoid WHERE t.tgrelid = %s::regclass AND NOT t.tgisinternal "
            "AND p.proname LIKE 'audit%%'",
            [guards.TABLE],
        )
        return {name: _plain(source) for name, source in cursor.fetchall()}


def _other_ways_on_postgresql(connection: BaseDatabaseWrapper) -> list[str]:
    """Rules and row security can keep entries out, or from being seen."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rulename || ' (not ours)' FROM pg_rewrite WHERE ev_class = %s::regclass "
            "UNION ALL SELECT 'row security' FROM pg_class "
            "WHERE oid = %s::regclass AND (relrowsecurity OR relforcerowsecurity)",
            [guards.TABLE, guards.TABLE],
        )
        return [name for (name,) in cursor.fetchall()]


def _columns_on_postgresql(connection: BaseDatabaseWrapper) -> list[str]:
    """PostgreSQL tells an expression in words of its own, so it is asked for those of a
    table that was made just now as well."""
    computed = _computed()
    columns = ", ".join(
        f'"{field.column}" {field.db_type(connection)} '
        f"GENERATED ALWAYS AS ({field.generated_sql(connection)[0]}) STORED"
        for field in computed
    )
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE audit_twin (document text, {columns})")
        wanted = _expressions(connection, "audit_twin")
        cursor.execute("DROP TABLE audit_twin")
    found = _expressions(connection, guards.TABLE)
    return [
        field.name
        for field in computed
        if found.get(str(field.column)) != wanted[str(field.column)]
    ]


def _expressions(connection: BaseDatabaseWrapper, table: str) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname, pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a "
            "JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
            "WHERE a.attrelid = %s::regclass AND a.attgenerated = 's'",
            [table],
        )
        return dict(cursor.fetchall())


def _plain(sql: str) -> str:
    return " ".join(sql.split())
