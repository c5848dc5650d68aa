"""Reading and writing single rows at the cost of the statement.

A change reads two rows and writes seven between the caller and the agent's
answer. Django composes each statement anew, which takes longer than running it;
here it is composed once. Values go through the model's fields as they do in
`save()` and in query sets. There are no defaults of the database and no parents,
no fields that fill themselves in and no signals of saving; no model that is read
or written here has any.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import (
    AutoField,
    CharField,
    Field,
    FloatField,
    Model,
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


def insert_rows(*rows: Model) -> None:
    """INSERT the rows, one after the other, and give each the primary key that
    the database chose. Raises django.db.DatabaseError."""
    using = router.db_for_write(type(rows[0]))
    connection = connections[using]
    with connection.cursor() as cursor:
        for row in rows:
            statement = _insert_statement(type(row), using)
            cursor.execute(statement.sql, statement.values(row, connection))
            if statement.returns_key:
                row.pk = cursor.fetchone()[0]
            row._state.adding = False
            row._state.db = using


@dataclass(frozen=True)
class Changed:
    """A row, and the names of its fields that the database does not have yet."""

    row: Model
    names: tuple[str, ...]


def update_rows(*changes: Changed) -> None:
    """UPDATE the rows, one after the other. Raises django.db.DatabaseError."""
    using = router.db_for_write(type(changes[0].row))
    connection = connections[using]
    with connection.cursor() as cursor:
        for changed in changes:
            statement = _update_statement(type(changed.row), using, changed.names)
            cursor.execute(statement.sql, statement.values(changed.row, connection))


class _NoValue:
    """A type that no value of a field has."""


_PASSED_ON: Mapping[type[AnyField], type] = {CharField: str, TextField: str, FloatField: float}
"""Fields of these classes hand values of that type to the driver as they are."""


class _Written(NamedTuple):
    """A column that a statement writes, with the type of values that its field
    hands on as they are."""

    attribute: str
    field: AnyField
    passed_on: type


def _written(fields: Iterable[AnyField]) -> tuple[_Written, ...]:
    return tuple(
        _Written(field.attname, field, _PASSED_ON.get(type(field), _NoValue)) for field in fields
    )


@dataclass(frozen=True)
class _Statement:
    """An INSERT or UPDATE of one row, and where its values come from."""

    sql: str
    columns: tuple[_Written, ...]
    returns_key: bool

    def values(self, row: Model, connection: BaseDatabaseWrapper) -> list[Any]:
        """The row's values as the database driver takes them."""
        values = []
        for attribute, field, passed_on in self.columns:
            value = getattr(row, attribute)
            # Asking the field takes longer than the INSERT; what it would answer is known here.
            if value is not None and not isinstance(value, passed_on):
                value = field.get_db_prep_save(value, connection)
            values.append(value)
        return values


@dataclass(frozen=True)
class _Reader:
    """Makes an instance of the model from the columns `begin` to `end` of a row."""

    model: type[Model]
    names: frozenset[str]
    begin: int
    end: int
    converted: list[tuple[int, AnyField, Col]]

    def read(self, row: Sequence[Any], connection: BaseDatabaseWrapper) -> Model:
        values = list(row[self.begin : self.end])
        for place, field, column in self.converted:
            # No field that is read here makes anything of NULL.
            if values[place] is None:
                continue
            # Asked for each time, because they belong to the thread's connection.
            for convert in connection.ops.get_db_converters(column):
                values[place] = convert(values[place], column, connection)
            for convert in field.get_db_converters(connection):
                values[place] = convert(values[place], column, connection)
        return self.model.from_db(connection.alias, self.names, values)


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
        attributes = frozenset(field.attname for field in fields)
        readers.append(_Reader(part.model, attributes, begin, len(named), converted))
    return f"SELECT {', '.join(named)} {tail}", readers


@cache
def _insert_statement(model: type[Model], using: str) -> _Statement:
    quote = connections[using].ops.quote_name
    meta = model._meta
    key = meta.pk
    returns_key = isinstance(key, AutoField) or key.get_internal_type() == "BigAutoField"
    fields = [field for field in meta.local_concrete_fields if not (returns_key and field is key)]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    sql = f"INSERT INTO {quote(meta.db_table)} ({columns}) VALUES ({places})"  # noqa: S608
    if returns_key:
        sql += f" RETURNING {quote(str(key.column))}"
    return _Statement(sql, _written(fields), returns_key)


@cache
def _update_statement(model: type[Model], using: str, names: tuple[str, ...]) -> _Statement:
    quote = connections[using].ops.quote_name
    meta = model._meta
    fields = [field for field in meta.local_concrete_fields if field.name in names]
    changes = ", ".join(f"{quote(str(field.column))} = %s" for field in fields)
    key = meta.pk
    sql = f"UPDATE {quote(meta.db_table)} SET {changes} WHERE {quote(str(key.column))} = %s"  # noqa: S608
    return _Statement(sql, _written([*fields, key]), returns_key=False)
