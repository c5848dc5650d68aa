"""Examples of what is sent and shown, for the OpenAPI document."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework.serializers import BaseSerializer

Serializer = TypeVar("Serializer", bound=type[BaseSerializer[Any]])
OPERATION_ID = "018f4b0e-8c1d-7c3a-9f64-2f1c7a9d5e10"
CALLER = {
    "request_id": "dc43f282a6744d0a88260160cff0d113",
    "actor_kind": "token",
    "actor_name": "anna/deploy script",
    "actor_ref": "token:7",
}
"""Who asked, as records of all kinds have it."""


def shown(value: Mapping[str, object]) -> Callable[[Serializer], Serializer]:
    """Decorates a serializer with an example of an answer."""
    return extend_schema_serializer(
        examples=[OpenApiExample("Example", value=value, response_only=True)]
    )


def sent(name: str, value: Mapping[str, object]) -> Callable[[Serializer], Serializer]:
    """Decorates a serializer with an example of a request, which `name` describes."""
    return extend_schema_serializer(examples=[OpenApiExample(name, value=value, request_only=True)])
