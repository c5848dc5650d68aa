"""What every operation and schema of the OpenAPI document has in common."""

from collections.abc import Iterator
from typing import Any

_METHODS = ("get", "post", "put", "patch", "delete")
_ERROR = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {
        "error": {"type": "string", "description": "Short and stable, for programs."},
        "message": {"type": "string", "description": "What is wrong, and the remedy."},
    },
    "additionalProperties": True,
}
_INVALID = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {
        **_ERROR["properties"],  # type: ignore[dict-item]
        "fields": {
            "type": "object",
            "description": "What is wrong with each field or parameter.",
            "additionalProperties": True,
        },
    },
    "additionalProperties": True,
}
_EXAMPLES = {
    "400": (
        "The request is invalid.",
        "InvalidRequest",
        {
            "error": "Invalid request",
            "message": "'page_size': 'page_size' must be at least 1, not 0.",
            "fields": {"page_size": ["'page_size' must be at least 1, not 0."]},
        },
    ),
    "401": (
        "The credentials are missing or not good.",
        "Error",
        {
            "error": "Unauthorized",
            "message": "The API token is unknown, revoked or expired; create a new one.",
        },
    ),
    "403": (
        "The caller's role does not allow this.",
        "Error",
        {"error": "Forbidden", "message": "This needs the role 'admin'."},
    ),
    "404": (
        "There is no such thing.",
        "Error",
        {"error": "Not found", "message": "There is nothing of that name or number."},
    ),
    "415": (
        "The body is not declared as JSON.",
        "Error",
        {
            "error": "Unsupported media type",
            "message": 'Unsupported media type "text/plain" in request.',
        },
    ),
}


def add_error_answers(
    result: dict[str, Any],
    generator: object,
    request: object,
    public: bool,  # noqa: FBT001 - the hook's signature is drf-spectacular's
) -> dict[str, Any]:
    """A drf-spectacular hook: gives each operation the error answers that it
    can give and does not describe itself."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.setdefault("Error", _ERROR)
    schemas.setdefault("InvalidRequest", _INVALID)
    for operations in result.get("paths", {}).values():
        for method in _METHODS:
            if method in operations:
                _add_to(operations[method])
    return result


def let_anything_be_null(
    result: dict[str, Any],
    generator: object,
    request: object,
    public: bool,  # noqa: FBT001 - the hook's signature is drf-spectacular's
) -> dict[str, Any]:
    """A drf-spectacular hook: takes "one of: anything, null" out of the schemas.
    A null is both of these, so no null would satisfy it."""
    for schema in result.get("components", {}).get("schemas", {}).values():
        for described in schema.get("properties", {}).values():
            if described.get("oneOf") == [{}, {"type": "null"}]:
                del described["oneOf"]
    return result


def order_methods(
    result: dict[str, Any],
    generator: object,
    request: object,
    public: bool,  # noqa: FBT001 - the hook's signature is drf-spectacular's
) -> dict[str, Any]:
    """A drf-spectacular hook: the same document from every process. The methods
    of a path come out of a set."""
    for path, operations in result.get("paths", {}).items():
        result["paths"][path] = dict(sorted(operations.items(), key=_place_of_method))
    return result


def _place_of_method(item: tuple[str, object]) -> int:
    return _METHODS.index(item[0])


def _add_to(operation: dict[str, Any]) -> None:
    for status in _statuses(operation):
        description, schema, example = _EXAMPLES[status]
        operation["responses"].setdefault(
            status,
            {
                "description": description,
                "content": {
                    "application/json": {
                        "schema": {"$ref": f"#/components/schemas/{schema}"},
                        "examples": {"example": {"value": example}},
                    }
                },
            },
        )


def _statuses(operation: dict[str, Any]) -> Iterator[str]:
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    if "query" in places or "requestBody" in operation:
        yield "400"
    if operation.get("security") not in (None, [], [{}]):
        yield from ("401", "403")
    if "path" in places:
        yield "404"
    if "requestBody" in operation:
        yield "415"
