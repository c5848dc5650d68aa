"""Fields of a form, out of OpenAPI parameters and of serializers."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.fields import empty

from controlplane.rest.forms import Field, FieldGroup, Input, Place

_NUMBERS = (
    *(int, float),
    *(OpenApiTypes.INT, OpenApiTypes.NUMBER, OpenApiTypes.FLOAT, OpenApiTypes.DOUBLE),
)
_BOOLEANS = (bool, OpenApiTypes.BOOL)
_MOMENTS = (datetime, OpenApiTypes.DATETIME)
_PLACES = (OpenApiParameter.QUERY, OpenApiParameter.HEADER)


def parameter_fields(parameters: Iterable[Any]) -> list[Field]:
    """Fields for what the OpenAPI document says of a call: OpenApiParameters, and
    serializers whose fields are query parameters."""
    fields: list[Field] = []
    for parameter in parameters:
        if isinstance(parameter, OpenApiParameter):
            if parameter.location in _PLACES and not (parameter.exclude or parameter.response):
                fields.append(_parameter_field(parameter))
        else:
            for group in serializer_groups(_made(parameter), {}):
                fields += [replace(field, place=Place.QUERY) for field in group.fields]
    return fields


def _made(serializer: Any) -> serializers.BaseSerializer[Any]:
    made: serializers.BaseSerializer[Any]
    made = serializer() if isinstance(serializer, type) else serializer
    return made


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
    if kind in _BOOLEANS:
        return Input.BOOLEAN
    return Input.MOMENT if kind in _MOMENTS else Input.TEXT


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
