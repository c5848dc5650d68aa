"""JSON columns as answers show them, with what the OpenAPI document says of them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from controlplane.rest.components import DIFF
from engine.contract.components import referred

_OBJECT_OR_NULL: dict[str, Any] = {"type": ["object", "null"], "additionalProperties": True}


@extend_schema_field(referred(DIFF))
class DiffField(serializers.JSONField):
    """How two states differ, key by key."""


@extend_schema_field(_OBJECT_OR_NULL)
class JSONObjectField(serializers.JSONField):
    """Any JSON object, or null."""
