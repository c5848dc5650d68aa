"""Writing single rows at the cost of the write.

A change writes seven rows between the caller and the agent's answer. Django's
`save()` composes each statement anew, which takes longer than running it; here
the statement is composed once for each model. Values go through the model's
fields as they do in `save()`. There are no signals, no defaults of the database
and no parents, and no model that is written here has any.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

from django.db import connections, router
from django.db.models import AutoField, Field, Model

AnyField: TypeAlias = "Field[Any, Any]"


def insert_row(row: Model) -> None:
    """INSERT the row, and give it the primary key that the database chose.
    Raises django.db.DatabaseError."""
    using = router.db_for_write(type(row))
    connection = connections[using]
    sql, fields, returns_key = _insert_statement(type(row), using)
    values = [field.get_db_prep_save(field.pre_save(row, True), connection) for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        if returns_key:
            row.pk = cursor.fetchone()[0]
    row._state.adding = False
    row._state.db = using


def update_row(row: Model, names: Sequence[str]) -> None:
    """UPDATE those fields of the row. Raises django.db.DatabaseError."""
    using = router.db_for_write(type(row))
    connection = connections[using]
    sql, fields = _update_statement(type(row), using, tuple(names))
    values = [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


@cache
def _insert_statement(model: type[Model], using: str) -> tuple[str, list[AnyField], bool]:
    quote = connections[using].ops.quote_name
    meta = model._meta
    key = meta.pk
    returns_key = isinstance(key, AutoField) or key.get_internal_type() == "BigAutoField"
    fields = [field for field in meta.local_concrete_fields if not (returns_key and field is key)]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    sql = f"INSERT INTO {quote(meta.db_table)} ({columns}) VALUES ({places})"  # noqa: S608
    return (
        sql + (f" RETURNING {quote(str(key.column))}" if returns_key else ""),
        fields,
        returns_key,
    )


@cache
def _update_statement(
    model: type[Model], using: str, names: tuple[str, ...]
) -> tuple[str, list[AnyField]]:
    quote = connections[using].ops.quote_name
    meta = model._meta
    fields = [field for field in meta.local_concrete_fields if field.name in names]
    changes = ", ".join(f"{quote(str(field.column))} = %s" for field in fields)
    key = meta.pk
    sql = f"UPDATE {quote(meta.db_table)} SET {changes} WHERE {quote(str(key.column))} = %s"  # noqa: S608
    return sql, [*fields, key]
