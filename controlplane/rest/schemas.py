"""What drf-spectacular's hooks put right in the OpenAPI document as a whole."""

from typing import Any

from controlplane.rest.answers import ERRORS, RESPONSES
from controlplane.rest.components import EVERYWHERE
from controlplane.rest.parameters import describe
from engine.contract import CATALOGUE, Group, schemas
from engine.contract.components import components

_METHODS = ("get", "post", "put", "patch", "delete")
_NUMBER = "^[0-9]{1,18}$"
_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_TAGS = {
    "index": "Where to begin.",
    "agents": "Agents: processes that serve the documented API.",
    "engines": "Engines: a scheduler and its workers each.",
    "enrolment_tokens": "Tokens with which agents register themselves.",
    "enrol": "What agents say about themselves.",
    "operations": "Changes that were asked for, with the outcome for every agent.",
    "config_revisions": "What each agent's configuration should be, was, and was refused to be.",
    "modes": "What the modes of each agent should be now.",
    "mode_changes": "Every change of freeze, hot cache and bypasses.",
    "tier_statistics": "What each agent's tiers were asked for, had and held, moment by moment.",
    "watches": "How each agent does, and whether it is as it should be.",
    "controllers": "Control loops that run.",
    "audit": "Who asked for what, when, why, and what came of it.",
    "users": "Users and their roles.",
    "tokens": "API tokens.",
    "health": "Whether the control plane answers.",
    **{group.value: group.description for group in Group},
}
_HEALTH = {
    "operationId": "get_health",
    "summary": "Liveness",
    "description": "Answers while the process lives; needs no token and tells nothing else.",
    "tags": ["health"],
    "security": [],
    "responses": {
        "200": {
            "description": "It lives.",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Health"},
                    "examples": {"example": {"value": {"status": "ok"}}},
                }
            },
        }
    },
}


def complete(
    result: dict[str, Any],
    generator: object,
    request: object,
    public: bool,  # noqa: FBT001 - the hook's signature is drf-spectacular's
) -> dict[str, Any]:
    """A drf-spectacular hook: adds what operations refer to, the tags, and the one
    endpoint that is served before Django."""
    kept = result.setdefault("components", {})
    described = components(
        [
            *(schemas.HEALTH, *ERRORS, *EVERYWHERE),
            *(entry.response_schema for entry in CATALOGUE),
            *(entry.body_schema for entry in CATALOGUE if entry.body_schema is not None),
        ]
    )
    for name, schema in described.items():
        if kept.setdefault("schemas", {}).setdefault(name, schema) != schema:
            raise ValueError(f"a serializer and the contract both describe '{name}'; rename one")
    kept["responses"] = RESPONSES
    kept["securitySchemes"]["cookieAuth"]["description"] = (
        "The session of a browser that logged in; changes also need the header X-CSRFToken."
    )
    result["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    result["paths"]["/health"] = {"get": _HEALTH}
    return result


def describe_parameters(
    result: dict[str, Any],
    generator: object,
    request: object,
    public: bool,  # noqa: FBT001 - the hook's signature is drf-spectacular's
) -> dict[str, Any]:
    """A drf-spectacular hook: what each parameter means, with an example."""
    names = {
        frozenset(schema["enum"]): name
        for name, schema in result["components"]["schemas"].items()
        if "enum" in schema
    }
    for operations in result["paths"].values():
        for method in _METHODS:
            for parameter in operations.get(method, {}).get("parameters", ()):
                _type_key(parameter["schema"])
                describe(parameter)
                _name_choices(parameter, names)
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


def _name_choices(parameter: dict[str, Any], names: dict[frozenset[str], str]) -> None:
    """What a filter takes has the type of what answers show."""
    name = names.get(frozenset(parameter["schema"].get("enum", ())))
    if name is not None:
        parameter["schema"] = {"$ref": f"#/components/schemas/{name}"}


def _type_key(schema: dict[str, Any]) -> None:
    """A row's key has in the path the type that it has in answers."""
    pattern = schema.get("pattern")
    if pattern == _NUMBER:
        del schema["pattern"]
        schema.update(type="integer", minimum=0, maximum=10**18 - 1)
    elif pattern == _UUID:
        del schema["pattern"]
        schema["format"] = "uuid"
