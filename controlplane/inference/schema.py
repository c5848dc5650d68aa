"""The OpenAPI description of a forwarded endpoint, from the catalogue."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from controlplane.inference.targets import AGENT_PARAMETER, ENGINE_PARAMETER
from controlplane.inference.wishes import wishes_for
from engine.contract import Endpoint, Kind, Parameter
from engine.contract.schemas import ERROR

SCOPED_PARAMETER = "agent_name"

_TYPES: dict[Kind, type] = {Kind.INTEGER: int, Kind.BOOLEAN: bool, Kind.SWITCH: bool}

_GATEWAY_ERRORS = {
    401: "Not authenticated.",
    403: "The role of the caller does not allow it.",
    404: "No such agent.",
    409: "No agent was named, and more or fewer than one has the component; or the configuration "
    "is at another revision than expected.",
    501: "Agents of this dialect cannot do the call.",
    502: "The agent refused the connection, broke it, or gave a bad answer.",
    503: "The agent lacks the component, or the change could not be recorded.",
    504: "The agent did not answer in time.",
}


class EndpointSchema(AutoSchema):
    """Asks the viewset which endpoint of the catalogue each method serves."""

    def _endpoint(self) -> Endpoint:
        endpoints: Mapping[str, Endpoint] = getattr(self.view, "endpoints", {})
        return endpoints[self.method.lower()]

    def _is_scoped(self) -> bool:
        return f"{{{SCOPED_PARAMETER}}}" in self.path

    def get_operation_id(self) -> str:
        prefix = "agent_" if self._is_scoped() else ""
        return f"{prefix}{self._endpoint().operation_id}"

    def get_summary(self) -> str:
        return self._endpoint().summary

    def get_description(self) -> str:  # type: ignore[override]
        return self._endpoint().description

    def get_tags(self) -> list[str]:
        scope = " of an agent" if self._is_scoped() else ""
        return [f"{self._endpoint().group.value}{scope}"]

    def get_override_parameters(self) -> list[Any]:
        endpoint = self._endpoint()
        parameters = [_query_parameter(parameter) for parameter in endpoint.parameters]
        if self._is_scoped():
            parameters.append(
                OpenApiParameter(
                    SCOPED_PARAMETER, str, OpenApiParameter.PATH, description="The agent's name."
                )
            )
        else:
            parameters += [
                OpenApiParameter(
                    AGENT_PARAMETER,
                    str,
                    description="The agent to ask; else the header X-KVPlane-Agent, else the "
                    "only agent that has the component. For lookups and chunk statistics "
                    "that is the scheduler.",
                ),
                OpenApiParameter(
                    ENGINE_PARAMETER,
                    str,
                    description="The engine whose agents come into question; else the header "
                    "X-KVPlane-Engine, else all of them.",
                ),
            ]
        if endpoint.action is not None:
            parameters.append(
                OpenApiParameter(
                    "X-KVPlane-Reason",
                    str,
                    OpenApiParameter.HEADER,
                    description="Why the change is made; kept in the audit log. At most 500 "
                    "characters.",
                )
            )
            parameters += [
                OpenApiParameter(wish.name, wish.type, wish.place, description=wish.description)
                for wish in wishes_for(endpoint)
            ]
        return parameters

    def get_request_serializer(self) -> Any:
        endpoint = self._endpoint()
        if endpoint.body_schema is None:
            return None
        return {"application/json": dict(endpoint.body_schema)}

    def get_response_serializers(self) -> Any:
        endpoint = self._endpoint()
        responses: dict[Any, Any] = {
            (200, endpoint.media_type): OpenApiResponse(
                response=dict(endpoint.response_schema),
                description="The agent's answer, unchanged.",
                examples=[OpenApiExample("Documented", value=endpoint.response_example)],
            )
        }
        examples: dict[int, list[OpenApiExample]] = {400: []}
        for case in endpoint.errors:
            examples.setdefault(case.status, []).append(
                OpenApiExample(case.when, value=case.example)
            )
        for status, cases in examples.items():
            responses[status, "application/json"] = OpenApiResponse(
                response=_error_schema(endpoint, status),
                description="Something in the request cannot be used.",
                examples=cases,
            )
        for status, description in _GATEWAY_ERRORS.items():
            responses[status, "application/json"] = OpenApiResponse(
                response=dict(ERROR), description=description
            )
        if endpoint.body_schema is not None:
            responses[415, "application/json"] = OpenApiResponse(
                response=dict(ERROR), description="The body is not declared as JSON."
            )
        return responses


def _error_schema(endpoint: Endpoint, status: int) -> dict[str, object]:
    """A partly refused change answers with its success body and status 400."""
    if any("errors" in case.example for case in endpoint.errors if case.status == status):
        return {"anyOf": [dict(ERROR), dict(endpoint.response_schema)]}
    return dict(ERROR)


def _query_parameter(parameter: Parameter) -> OpenApiParameter:
    schema: type | Mapping[str, object]
    if parameter.kind is Kind.STRINGS:
        schema = {"type": "array", "items": {"type": "string"}}
    elif parameter.kind is Kind.INTEGER:
        schema = {"type": "integer", "minimum": parameter.minimum or 0}
    else:
        schema = _TYPES.get(parameter.kind, str)
    return OpenApiParameter(
        parameter.name,
        schema if isinstance(schema, type) else dict(schema),
        description=parameter.description,
        required=parameter.required,
        explode=True if parameter.kind is Kind.STRINGS else None,
        examples=[OpenApiExample("Example", value=_example(parameter))],
    )


def _example(parameter: Parameter) -> object:
    if parameter.kind is Kind.STRINGS:
        return [parameter.example]
    if parameter.kind is Kind.INTEGER:
        return int(parameter.example)
    if parameter.kind in (Kind.BOOLEAN, Kind.SWITCH):
        return parameter.example == "true"
    return parameter.example
