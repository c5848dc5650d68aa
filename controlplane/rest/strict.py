"""Serializers that refuse fields that they do not know."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers


class StrictSerializer(serializers.Serializer[Any]):
    """A misspelt field is an error, not something to leave out."""

    def to_internal_value(self, data: Any) -> Any:
        """Raises ValidationError naming the fields that are not known."""
        if isinstance(data, Mapping):
            unknown = [str(name)[:64] for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError(
                    {name: [f"Unknown; there is {', '.join(self.fields)}."] for name in unknown}
                )
        return super().to_internal_value(data)
