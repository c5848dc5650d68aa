"""The agent's OpenAPI 3.1 document, written from the catalogue.

`python -m engine.agent.openapi` prints it.
"""

import json
import sys
from functools import cache

from engine.agent.own_endpoints import OWN_ENDPOINTS, PUBLIC
from engine.contract import CATALOGUE, Component, Endpoint, Group, Parameter, schemas
from engine.contract.components import components, referred
from engine.contract.parameter_schemas import parameter_example, parameter_schema
from engine.contract.version import version

Node = dict[str, object]

_REQUEST_ID = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
_ERROR = referred(schemas.ERROR)


@cache
def document() -> Node:
    """The whole document, ready for JSON. It is shared: do not change it."""
    endpoints = (*OWN_ENDPOINTS, *CATALOGUE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "KVPlane engine agent",
            "version": version(),
            "description": "LMCache's documented vLLM inference API, and a few endpoints of "
            "our own. The bearer token is the agent's `agent_token`; an agent "
            "without one listens on loopback only and takes no token.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"agentToken": []}],
        "tags": [{"name": group.value, "description": group.description} for group in Group],
        "paths": _paths(endpoints),
        "components": {
            "schemas": components(
                [
                    schemas.ERROR,
                    *(entry.response_schema for entry in endpoints),
                    *(entry.body_schema for entry in endpoints if entry.body_schema is not None),
                ]
            ),
            "headers": {
                "RequestId": {
                    "description": "The request's own X-Request-ID, or a new one.",
                    "required": True,
                    "schema": {"type": "string"},
                }
            },
            "securitySchemes": {
                "agentToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The agent's `agent_token`.",
                }
            },
        },
    }


def _paths(endpoints: tuple[Endpoint, ...]) -> Node:
    paths: dict[str, Node] = {}
    for entry in endpoints:
        paths.setdefault(entry.path, {})[entry.method.lower()] = _operation(entry)
    return dict(paths)


def _operation(entry: Endpoint) -> Node:
    operation: Node = {
        "operationId": entry.operation_id,
        "tags": [entry.group.value],
        "summary": entry.summary,
        "description": entry.description,
        "responses": _responses(entry),
    }
    if entry.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in entry.parameters]
    if entry.body_schema is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": referred(entry.body_schema),
                    "example": entry.body_example,
                }
            },
        }
    if entry.operation_id in PUBLIC:
        operation["security"] = []
    return operation


def _responses(entry: Endpoint) -> Node:
    responses: Node = {
        "200": {
            "description": entry.summary,
            "headers": _REQUEST_ID,
            "content": {
                entry.media_type: {
                    "schema": referred(entry.response_schema),
                    "example": entry.response_example,
                }
            },
        }
    }
    for status, description in _error_statuses(entry).items():
        responses[str(status)] = _error_response(entry, status, description)
    return responses


def _error_statuses(entry: Endpoint) -> dict[int, str]:
    """Every error status that the agent can answer on this path and method."""
    statuses: dict[int, str] = {}
    if entry.parameters or entry.body_schema is not None or entry.errors:
        statuses[400] = "The request is not one that this endpoint takes."
    if entry.operation_id not in PUBLIC:
        statuses[401] = "The bearer token is missing or wrong."
    statuses[403] = "Without an agent_token: the caller is a foreign web page."
    if entry.body_schema is not None:
        statuses[408] = "The body did not arrive in time."
    if entry.parameters:
        statuses[414] = "The query string is too long."
    if entry.body_schema is not None:
        statuses[415] = "The body is not declared as application/json."
    statuses[500] = "The agent failed; its log has the request id."
    if entry.component is not Component.PROCESS or entry.action is not None:
        statuses[503] = "This process lacks the component behind the endpoint, or is stopping."
    return statuses


def _error_response(entry: Endpoint, status: int, description: str) -> Node:
    cases = [case for case in entry.errors if case.status == status]
    content: Node = {"schema": _ERROR}
    if any("error" not in case.example for case in cases):
        content["schema"] = {"anyOf": [_ERROR, referred(entry.response_schema)]}
    if cases:
        content["examples"] = {
            f"case{number}": {"summary": case.when, "value": case.example}
            for number, case in enumerate(cases, start=1)
        }
    return {
        "description": description,
        "headers": _REQUEST_ID,
        "content": {"application/json": content},
    }


def _parameter(parameter: Parameter) -> Node:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "required": parameter.required,
        "schema": parameter_schema(parameter),
        "example": parameter_example(parameter),
    }


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
