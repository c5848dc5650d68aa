"""Columns that the database computes from an entry's document."""

from typing import Any, cast

from django.conf import settings
from django.db.models import CharField, DateTimeField, Field, PositiveSmallIntegerField, UUIDField
from django.db.models.expressions import F, Func
from django.db.models.fields.generated import GeneratedField
from django.utils.deconstruct import deconstructible

# PostgreSQL can only store what it computes; SQLite need not, and then nothing is there
# that could be changed behind the document's back.
PERSISTED = "postgresql" in settings.DATABASES["default"]["ENGINE"]


@deconstructible(path="controlplane.audit.columns.FromDocument")
class FromDocument(Func):
    """The value under a key of the document, a column of JSON text."""

    def __init__(self, key: str, output_field: "Field[Any, Any]") -> None:
        super().__init__(F("document"), output_field=output_field)
        self._key = key

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """`json_extract()`, in the form that Django's fields read."""
        document, params = compiler.compile(self.source_expressions[0])
        value = f"json_extract({document}, '$.{self._key}')"
        kind = self.output_field.get_internal_type()
        if kind == "UUIDField":
            value = f"replace({value}, '-', '')"
        elif kind == "DateTimeField":
            value = f"replace(substr({value}, 1, 26), 'T', ' ')"
        return value, params

    def as_postgresql(
        self, compiler: Any, connection: Any, **context: Any
    ) -> tuple[str, list[Any]]:
        """`->>` with a cast. The text of a moment is taken apart, because a cast of it
        would depend on settings, which a computed column must not."""
        document, params = compiler.compile(self.source_expressions[0])
        value = f"(({document})::json ->> '{self._key}')"
        kind = self.output_field.get_internal_type()
        if kind == "UUIDField":
            value = f"{value}::uuid"
        elif kind == "PositiveSmallIntegerField":
            value = f"{value}::smallint"
        elif kind == "DateTimeField":
            parts = [(1, 4), (6, 2), (9, 2), (12, 2), (15, 2)]
            numbers = [f"substr({value}, {at}, {length})::integer" for at, length in parts]
            numbers.append(f"substr({value}, 18, 9)::double precision")
            value = f"(make_timestamp({', '.join(numbers)}) AT TIME ZONE 'UTC')"
        return value, list(params) * (6 if kind == "DateTimeField" else 1)


def text(key: str, max_length: int, **options: Any) -> Any:
    """A text of the document."""
    return _generated(key, CharField(max_length=max_length, **options))


def moment(key: str) -> Any:
    """A moment of the document."""
    return _generated(key, DateTimeField())


def identifier(key: str) -> Any:
    """A UUID of the document, or null."""
    return _generated(key, UUIDField(null=True), null=True)


def small_number(key: str) -> Any:
    """A number of the document, or null."""
    return _generated(key, PositiveSmallIntegerField(null=True), null=True)


def _generated(key: str, field: "Field[Any, Any]", **options: Any) -> Any:
    expression = cast(Any, FromDocument(key, field))
    return GeneratedField(
        expression=expression, output_field=field, db_persist=PERSISTED, **options
    )
