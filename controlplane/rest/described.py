"""What the OpenAPI document says of a call, for the form of its page: one truth for both."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drf_spectacular.drainage import get_override
from drf_spectacular.utils import OpenApiExample, OpenApiRequest
from rest_framework.serializers import BaseSerializer

from controlplane.rest.forms import Example

if TYPE_CHECKING:
    # rest_framework.views imports the renderers through the settings.
    from rest_framework.views import APIView


class Description:
    """One method of a view, bound to a request that is made of it, as its schema
    describes it."""

    def __init__(self, view: "APIView", method: str) -> None:
        actions: Mapping[str, str] = getattr(view, "action_map", None) or {}
        handler = getattr(view, actions.get(method.lower(), method.lower()))
        # Where extend_schema leaves what it was told about a method.
        kind: Any = getattr(handler, "kwargs", {}).get("schema") or type(view.schema)
        schema: Any = kind()
        schema.view, schema.method, schema.path = view, method, view.request.path
        self._schema = schema
        self._action = handler.__name__

    def text(self) -> str:
        """What the call does; who may make it is told where it is refused."""
        view = self._schema.view
        if getattr(view, "action", "") is None:
            # DRF sets it for the request that is made of a view; one without actions has none.
            view.action = self._action
        return " ".join(self._schema.get_purpose().split())

    def parameters(self) -> list[Any]:
        """OpenApiParameters and serializers."""
        return list(self._schema.get_override_parameters())

    def body(self) -> type[BaseSerializer[Any]] | None:
        """The serializer that reads the body; None for a call without one."""
        found: Any = self._schema.get_request_serializer()
        if isinstance(found, OpenApiRequest):
            found = found.request
        if isinstance(found, BaseSerializer):
            return type(found)
        return found if isinstance(found, type) and issubclass(found, BaseSerializer) else None

    def examples(self, body: type[BaseSerializer[Any]]) -> list[Example]:
        """Bodies that make sense: those of the call, else those of the serializer that reads
        its body."""
        shown: list[OpenApiExample] = self._schema.get_examples()
        shown = shown or get_override(body, "examples", [])
        return [
            Example(str(example.summary or example.name), example.value)
            for example in shown
            if isinstance(example.value, Mapping)
            and not (example.response_only or example.parameter_only)
        ]
