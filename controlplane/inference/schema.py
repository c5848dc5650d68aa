"""The OpenAPI description of a forwarded endpoint, from the catalogue."""

from collections.abc import Iterator, Mapping
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from controlplane.accounts.models import UserRole
from controlplane.inference.targets import AGENT_PARAMETER, ENGINE_PARAMETER
from controlplane.inference.wishes import wishes_for
from controlplane.operations.effects import CONF_UPDATE
from controlplane.rest.answers import shared_answers
from controlplane.rest.reason import REASON_PARAMETERS
from engine.contract import Endpoint, ErrorCase, Origin, Parameter, schemas
from engine.contract.components import referred
from engine.contract.parameter_schemas import parameter_example, parameter_schema

SCOPED_PARAMETER = "agent_name"
OPERATION_HEADER = "X-KVPlane-Operation"
REVISION_HEADER = "X-KVPlane-Revision"


class EndpointSchema(AutoSchema):
    """Asks the viewset which endpoint of the catalogue each method serves."""

    def _endpoint(self) -> Endpoint:
        endpoints: Mapping[str, Endpoint] = getattr(self.view, "endpoints", {})
        return endpoints[self.method.lower()]

    def _is_scoped(self) -> bool:
        return f"{{{SCOPED_PARAMETER}}}" in self.path

    def get_operation_id(self) -> str:
        """That of the catalogue; `…_of_agent` where the path names the agent."""
        suffix = "_of_agent" if self._is_scoped() else ""
        return f"{self._endpoint().operation_id}{suffix}"

    def get_summary(self) -> str:
        scope = " of a named agent" if self._is_scoped() else ""
        return f"{self._endpoint().summary}{scope}"

    def get_description(self) -> str:  # type: ignore[override]
        endpoint = self._endpoint()
        role = UserRole.VIEWER if endpoint.action is None else UserRole.OPERATOR
        return f"{endpoint.description}\n\nNeeds the role `{role.value}`{_exception(endpoint)}."

    def get_tags(self) -> list[str]:
        return [self._endpoint().group.value]

    def get_override_parameters(self) -> list[Any]:
        endpoint = self._endpoint()
        return [
            *map(_query_parameter, endpoint.parameters),
            *(_scope_parameters() if self._is_scoped() else _target_parameters()),
            *_change_parameters(endpoint),
        ]

    def get_request_serializer(self) -> Any:
        endpoint = self._endpoint()
        if endpoint.body_schema is None:
            return None
        return {"application/json": referred(endpoint.body_schema)}

    def get_examples(self) -> list[OpenApiExample]:
        """Of the request; those of answers stand with them."""
        endpoint = self._endpoint()
        if endpoint.body_schema is None:
            return []
        return [OpenApiExample("Documented", value=endpoint.body_example, request_only=True)]

    def get_response_serializers(self) -> Any:
        endpoint = self._endpoint()
        responses: dict[Any, Any] = {
            (200, endpoint.media_type): OpenApiResponse(
                response=referred(endpoint.response_schema),
                description="The agent's answer, unchanged.",
                examples=[OpenApiExample("Documented", value=endpoint.response_example)],
            )
        }
        by_status: dict[int, list[ErrorCase]] = {}
        for case in endpoint.errors:
            by_status.setdefault(case.status, []).append(case)
        for status, cases in by_status.items():
            responses[status, "application/json"] = OpenApiResponse(
                response=_error_schema(endpoint, cases),
                description="Something in the request cannot be used.",
                examples=[OpenApiExample(case.when, value=case.example) for case in cases],
            )
        return responses

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation with the error answers that forwarding adds."""
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is not None:
            shared = shared_answers(self._error_statuses())
            own = operation["responses"]
            operation["responses"] = dict(sorted({**shared, **own}.items()))
        return operation

    def _error_statuses(self) -> Iterator[int]:
        endpoint = self._endpoint()
        yield from (400, 401, 403, 404)
        if endpoint.action == CONF_UPDATE or not self._is_scoped():
            yield 409
        if endpoint.body_schema is not None:
            yield 415
        added = (parameter.origin is Origin.KVPLANE for parameter in endpoint.parameters)
        if endpoint.origin is Origin.KVPLANE or any(added):
            yield 501
        yield from (502, 503, 504)


def _exception(endpoint: Endpoint) -> str:
    if endpoint.reads_with is not None:
        return f", with `{endpoint.reads_with}` the role `viewer`"
    if endpoint.reads_without is not None:
        return f", without `{endpoint.reads_without}` the role `viewer`"
    return ""


def _error_schema(endpoint: Endpoint, cases: list[ErrorCase]) -> dict[str, object]:
    """A partly refused change answers with its success body and status 400."""
    error = referred(schemas.ERROR)
    if any("errors" in case.example for case in cases):
        return {"anyOf": [error, referred(endpoint.response_schema)]}
    return error


def _query_parameter(parameter: Parameter) -> OpenApiParameter:
    schema = parameter_schema(parameter)
    return OpenApiParameter(
        parameter.name,
        schema,
        description=parameter.description,
        required=parameter.required,
        explode=True if schema["type"] == "array" else None,
        examples=[OpenApiExample("Example", value=parameter_example(parameter))],
    )


def _scope_parameters() -> list[OpenApiParameter]:
    return [
        OpenApiParameter(
            SCOPED_PARAMETER, str, OpenApiParameter.PATH, description="The agent's name."
        )
    ]


def _target_parameters() -> list[OpenApiParameter]:
    return [
        OpenApiParameter(
            AGENT_PARAMETER,
            str,
            description="The agent to ask; else the header X-KVPlane-Agent, else the only agent "
            "that has the component. For lookups and chunk statistics that is the scheduler.",
        ),
        OpenApiParameter(
            ENGINE_PARAMETER,
            str,
            description="The engine whose agents come into question; else the header "
            "X-KVPlane-Engine, else all of them.",
        ),
    ]


def _change_parameters(endpoint: Endpoint) -> list[OpenApiParameter]:
    if endpoint.action is None:
        return []
    parameters = [
        *REASON_PARAMETERS,
        *(
            OpenApiParameter(wish.name, wish.type, wish.place, description=wish.description)
            for wish in wishes_for(endpoint)
        ),
        OpenApiParameter(
            OPERATION_HEADER,
            str,
            OpenApiParameter.HEADER,
            description="The operation that the change is, at `/api/v1/operations/<id>/`.",
            response=[200],
        ),
    ]
    if endpoint.action == CONF_UPDATE:
        parameters.append(
            OpenApiParameter(
                REVISION_HEADER,
                str,
                OpenApiParameter.HEADER,
                description="The number of the revision that was made.",
                response=[200],
            )
        )
    return parameters
