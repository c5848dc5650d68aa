"""The form of a call, as a page shows it."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.utils.html import escape
from django.utils.safestring import mark_safe
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.fields import empty

_NUMBERS = (int, float)
_QUOTED = re.compile("`([^`]+)`")


def marked(text: str) -> str:
    """The text as HTML, with what stands between backticks as code."""
    return mark_safe(_QUOTED.sub(r"<code>\1</code>", escape(text)))  # noqa: S308 - escaped


class Input(StrEnum):
    """How a value is typed in."""

    TEXT = "text"
    PASSWORD = "password"  # noqa: S105 - a kind of input
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    MOMENT = "moment"
    """A date and time, in the person's own time zone."""
    LINES = "lines"
    """Several texts, one a line."""
    JSON = "json"


class Place(StrEnum):
    """Where a value is sent."""

    QUERY = "query"
    HEADER = "header"
    BODY = "body"


@dataclass(frozen=True)
class Field:
    """One value of a call. A nested one of the body has dots in its name."""

    name: str
    input: Input = Input.TEXT
    place: Place = Place.QUERY
    label: str = ""
    help: str = ""
    required: bool = False
    nullable: bool = False
    placeholder: str = ""
    default: str = ""
    """What holds if it is left out, as it would be written."""
    value: str = ""
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None
    max_length: int | None = None

    @property
    def about(self) -> str:
        """The help, with what it quotes as code."""
        return marked(self.help)

    @property
    def html_type(self) -> str:
        """The type of an HTML input. A moment in a query is written as text, so that a page
        shows again what it was asked for."""
        if self.input is Input.MOMENT and self.place is not Place.QUERY:
            return "datetime-local"
        return self.input if self.input in (Input.NUMBER, Input.PASSWORD) else "text"


@dataclass(frozen=True)
class FieldGroup:
    """Fields under one heading; the first group of a form has none."""

    title: str
    help: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Example:
    """Values that one click fills in, by name; nested as in the body."""

    title: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class CallForm:
    """The form of one method on a path."""

    key: str
    """Unique on the page."""
    method: str
    path: str
    title: str
    description: str
    groups: tuple[FieldGroup, ...] = ()
    examples: tuple[Example, ...] = ()
    takes_json: bool = False
    """Whether there is a body, which may be written as JSON instead."""
    free_body: str = ""
    """An example of a body without fixed fields; empty where there is none."""
    refusal: str = ""
    """Why the viewer may not send it; empty if they may."""
    made_at: str = ""
    """Where what it makes is found, with `{}` for its name or number."""

    @property
    def about(self) -> str:
        """The description, with what it quotes as code."""
        return marked(self.description)

    @property
    def example_values(self) -> list[Mapping[str, object]]:
        """The values of the examples, for the page's script."""
        return [example.values for example in self.examples]


def parameter_fields(parameters: Iterable[Any]) -> list[Field]:
    """Fields for what the OpenAPI document says of a call: OpenApiParameters, and
    serializers whose fields are query parameters."""
    fields: list[Field] = []
    for parameter in parameters:
        if isinstance(parameter, OpenApiParameter):
            if parameter.location in (Place.QUERY, Place.HEADER):
                fields.append(_parameter_field(parameter))
        else:
            for group in serializer_groups(parameter(), {}):
                fields += [replace(field, place=Place.QUERY) for field in group.fields]
    return fields


def _parameter_field(parameter: OpenApiParameter) -> Field:
    choices = tuple(str(choice) for choice in parameter.enum or ())
    return Field(
        parameter.name,
        _input_of_type(parameter.type, choices),
        Place(parameter.location),
        help=str(parameter.description or ""),
        required=parameter.required,
        default="" if parameter.default is None else str(parameter.default),
        choices=choices,
    )


def _input_of_type(kind: object, choices: tuple[str, ...]) -> Input:
    if choices:
        return Input.CHOICE
    if kind in _NUMBERS:
        return Input.NUMBER
    if kind is bool:
        return Input.BOOLEAN
    return Input.MOMENT if kind is datetime else Input.TEXT


def serializer_groups(
    serializer: serializers.BaseSerializer[Any], values: Mapping[str, Any]
) -> list[FieldGroup]:
    """The writable fields of a serializer in its order, with the values that they have now;
    those of a serializer in it are a group of their own."""
    groups = list(_groups(serializer, values, "", "", ""))
    return [group for group in groups if group.fields]


def _groups(
    serializer: serializers.BaseSerializer[Any],
    values: Mapping[str, Any],
    prefix: str,
    title: str,
    about: str,
) -> Iterable[FieldGroup]:
    own: list[Field] = []
    for name, field in getattr(serializer, "fields", {}).items():
        if field.read_only or isinstance(field, serializers.HiddenField):
            continue
        full = f"{prefix}{name}"
        if isinstance(field, serializers.Serializer):
            yield FieldGroup(title, about, tuple(own))
            own = []
            about_it = f"{field.__doc__ or ''} {field.help_text or ''}".strip()
            yield from _groups(field, values.get(name) or {}, f"{full}.", name, about_it)
        else:
            own.append(_body_field(full, field, values.get(name)))
    yield FieldGroup(title, about, tuple(own))


def _body_field(name: str, field: serializers.Field[Any, Any, Any, Any], value: object) -> Field:
    kind = _input_of(field)
    suggestions = field.style.get("suggestions", ())
    return Field(
        name,
        kind,
        Place.BODY,
        label=name.rpartition(".")[2],
        help=_help_of(field, kind),
        required=field.required,
        nullable=field.allow_null,
        placeholder=str(field.style.get("placeholder", "")),
        default=_default_of(field),
        value=_written(value, kind),
        choices=_choices_of(field),
        suggestions=tuple(suggestions() if callable(suggestions) else suggestions),
        minimum=getattr(field, "min_value", None),
        maximum=getattr(field, "max_value", None),
        max_length=getattr(field, "max_length", None) if kind is Input.TEXT else None,
    )


def _input_of(field: serializers.Field[Any, Any, Any, Any]) -> Input:
    if field.style.get("input_type") == "password":
        return Input.PASSWORD
    for types, kind in _INPUTS:
        if isinstance(field, types):
            return kind
    return Input.TEXT


_INPUTS: tuple[tuple[Any, Input], ...] = (
    (serializers.BooleanField, Input.BOOLEAN),
    ((serializers.IntegerField, serializers.FloatField), Input.NUMBER),
    (serializers.ChoiceField, Input.CHOICE),
    (serializers.DateTimeField, Input.MOMENT),
    (serializers.ListField, Input.LINES),
    ((serializers.DictField, serializers.JSONField), Input.JSON),
)


def _choices_of(field: serializers.Field[Any, Any, Any, Any]) -> tuple[str, ...]:
    return tuple(str(choice) for choice in getattr(field, "choices", ()))


def _help_of(field: serializers.Field[Any, Any, Any, Any], kind: Input) -> str:
    said = [str(field.help_text or "")]
    if kind is Input.LINES:
        # A list may be of choices, which its lines are then.
        choices = _choices_of(getattr(field, "child", field))
        said.append(f"One a line{', of ' + ', '.join(choices) if choices else ''}.")
    if kind is Input.JSON:
        said.append("A JSON object.")
    return " ".join(filter(None, said))


def _default_of(field: serializers.Field[Any, Any, Any, Any]) -> str:
    default = field.default
    return "" if default in (empty, None, "") or callable(default) else str(default)


def _written(value: object, kind: Input) -> str:
    if value is None or value == "":
        return ""
    if kind is Input.JSON:
        return json.dumps(value, indent=2) if value else ""
    if kind is Input.LINES and isinstance(value, list):
        return "\n".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
