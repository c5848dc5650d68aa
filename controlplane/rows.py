"""Reading and writing single rows at the cost of the statement.

A change reads two rows and writes seven between the caller and the agent's
answer. Django composes each statement anew, which takes longer than running it;
here it is composed once. Values go through the model's fields as they do in
`save()` and in query sets. There are no defaults of the database and no parents,
and no signals of saving; no model that is read or written here has any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import (
    AutoField,
    CharField,
    Field,
    FloatField,
    Model,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    TextField,
)
from django.db.models.expressions import Col

AnyField: TypeAlias = "Field[Any, Any]"


@dataclass(frozen=True)
class Columns:
    """The columns of a model that a SELECT reads from the table `alias`: those
    of the fields `names`, and the others load when asked for; () means all."""

    model: type[Model]
    alias: str
    names: tuple[str, ...] = ()


def read_rows(
    columns: tuple[Columns, ...], tail: str, values: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """SELECT the columns, with `tail` as the rest of the statement from FROM on:
    for each row an instance of each model. Raises django.db.DatabaseError."""
    using = router.db_for_read(columns[0].model)
    connection = connections[using]
    sql, readers = _select_statement(columns, tail, using)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found = cursor.fetchall()
    return [tuple(reader.read(row, connection) for reader in readers) for row in found]


def insert_row(row: Model) -> None:
    """INSERT the row, and give it the primary key that the database chose.
    Raises django.db.DatabaseError."""
    using = router.db_for_write(type(row))
    connection = connections[using]
    sql, fields, returns_key = _insert_statement(type(row), using)
    values = [_prepared(field, field.pre_save(row, True), connection) for field in fields]
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
    values = [_prepared(field, getattr(row, field.attname), connection) for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def _prepared(field: AnyField, value: Any, connection: BaseDatabaseWrapper) -> Any:
    """The value as the database driver takes it."""
    # Asking the field takes longer than the INSERT; what it would answer is known here.
    if value is None or type(field) in _PASSED_ON.get(type(value), ()):
        return value
    return field.get_db_prep_save(value, connection)


_PASSED_ON: Mapping[type, frozenset[type[AnyField]]] = {
    str: frozenset({CharField, TextField}),
    int: frozenset({PositiveSmallIntegerField, PositiveIntegerField}),
    float: frozenset({FloatField}),
}
"""Values that fields of these classes hand to the driver as they are."""


@dataclass(frozen=True)
class _Reader:
    """Makes an instance of the model from the columns `begin` to `end` of a row."""

    model: type[Model]
    fields: list[AnyField]
    begin: int
    end: int
    converted: list[tuple[int, AnyField, Col]]

    def read(self, row: Sequence[Any], connection: BaseDatabaseWrapper) -> Model:
        values = list(row[self.begin : self.end])
        for place, field, column in self.converted:
            # Asked for each time, because they belong to the thread's connection.
            for convert in connection.ops.get_db_converters(column):
                values[place] = convert(values[place], column, connection)
            for convert in field.get_db_converters(connection):
                values[place] = convert(values[place], column, connection)
        names = [field.attname for field in self.fields]
        return self.model.from_db(connection.alias, names, values)


@cache
def _select_statement(
    columns: tuple[Columns, ...], tail: str, using: str
) -> tuple[str, list[_Reader]]:
    connection = connections[using]
    quote = connection.ops.quote_name
    named: list[str] = []
    readers: list[_Reader] = []
    for part in columns:
        # from_db() takes values in the order of the model's fields.
        fields: list[AnyField] = [
            field
            for field in part.model._meta.concrete_fields
            if not part.names or field.name in part.names
        ]
        converted = []
        for place, field in enumerate(fields):
            column = field.get_col(part.alias)
            if connection.ops.get_db_converters(column) or field.get_db_converters(connection):
                converted.append((place, field, column))
        begin = len(named)
        named += [f"{quote(part.alias)}.{quote(str(field.column))}" for field in fields]
        readers.append(_Reader(part.model, fields, begin, len(named), converted))
    return f"SELECT {', '.join(named)} {tail}", readers


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
