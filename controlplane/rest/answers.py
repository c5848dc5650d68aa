"""Error answers as the OpenAPI document describes them."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from drf_spectacular.utils import OpenApiExample, OpenApiResponse

from controlplane.rest.components import DIFF
from engine.contract import schemas
from engine.contract.components import referred

_ERROR_FIELDS = {
    "error": schemas.text("Short and stable, for programs."),
    "message": schemas.text("What is wrong, and the remedy."),
}
INVALID_REQUEST = schemas.record(
    "InvalidRequest",
    {
        **_ERROR_FIELDS,
        "fields": schemas.mapping(
            schemas.ANYTHING, "What is wrong with each field or parameter, by its name."
        ),
    },
    optional=["fields"],
)
CONFLICT = schemas.record(
    "Conflict",
    {
        **_ERROR_FIELDS,
        "candidates": schemas.array(schemas.text(), "Agents of which one is to be named."),
        "agent": schemas.text("Whose configuration is in question."),
        "expected": schemas.integer("The revision that the change builds on."),
        "active": schemas.integer("The revision that the agent is at."),
        "diff": DIFF,
        "revision": schemas.integer("The revision that is on its way."),
        "operation": schemas.text("Its operation."),
    },
    optional=["candidates", "agent", "expected", "active", "diff", "revision", "operation"],
)
AGENT_FAILURE = schemas.record(
    "AgentFailure",
    {
        **_ERROR_FIELDS,
        "agent": schemas.text(),
        "state": schemas.choice(["unchanged", "unknown"], "What is known of the agent afterwards."),
        "operation": schemas.text("The operation that is on record for the change."),
        "outcomes": schemas.mapping(schemas.text(), "What came of it, by agent."),
    },
    optional=["agent", "state", "operation", "outcomes"],
)
ERRORS = (schemas.ERROR, INVALID_REQUEST, CONFLICT, AGENT_FAILURE)
"""What the answers below refer to."""


class _Shared(NamedTuple):
    name: str
    description: str
    schema: schemas.JSONSchema
    example: Mapping[str, object]


_SHARED = {
    400: _Shared(
        "BadRequest",
        "The request is invalid.",
        INVALID_REQUEST,
        {
            "error": "Invalid request",
            "message": "'page_size': 'page_size' must be at least 1, not 0.",
            "fields": {"page_size": ["'page_size' must be at least 1, not 0."]},
        },
    ),
    401: _Shared(
        "Unauthorized",
        "The credentials are missing or not good.",
        schemas.ERROR,
        {
            "error": "Unauthorized",
            "message": "The API token is unknown, revoked or expired; create a new one.",
        },
    ),
    403: _Shared(
        "Forbidden",
        "The caller's role does not allow this.",
        schemas.ERROR,
        {"error": "Forbidden", "message": "This needs the role 'admin'."},
    ),
    404: _Shared(
        "NotFound",
        "There is no such thing.",
        schemas.ERROR,
        {
            "error": "Agent not found",
            "message": "No agent 'worker-9' is registered; GET /api/v1/agents/ lists the names.",
        },
    ),
    409: _Shared(
        "Conflict",
        "No agent was named, and not exactly one has the component; or the configuration is at "
        "another revision than expected, or being changed.",
        CONFLICT,
        {
            "error": "No default agent",
            "message": "2 agents have the cache engine that this path needs; name one with "
            "?agent=, the X-KVPlane-Agent header or /agents/<name>/, or its engine with ?engine= "
            "or X-KVPlane-Engine.",
            "candidates": ["smollm2-worker-0", "smollm2-worker-1"],
        },
    ),
    415: _Shared(
        "UnsupportedMediaType",
        "The body is not declared as JSON.",
        schemas.ERROR,
        {
            "error": "Unsupported media type",
            "message": 'Unsupported media type "text/plain" in request.',
        },
    ),
    429: _Shared(
        "TooManyRequests",
        "Too many attempts from this address; wait for Retry-After.",
        schemas.ERROR,
        {
            "error": "Too many requests",
            "message": "Request was throttled. Expected available in 42 seconds.",
        },
    ),
    501: _Shared(
        "NotImplemented",
        "Agents of this dialect cannot do the call.",
        AGENT_FAILURE,
        {
            "error": "Not supported by this agent",
            "message": "GET /conf/schema is an addition of KVPlane; agent 'old-worker' is an "
            "LMCache process, which does not have it.",
            "agent": "old-worker",
            "state": "unchanged",
        },
    ),
    502: _Shared(
        "BadGateway",
        "The agent refused the connection, broke it, or gave a bad answer.",
        AGENT_FAILURE,
        {
            "error": "Agent unreachable",
            "message": "Cannot connect to agent 'worker-0': connection refused. Check that it "
            "runs and that its registered URL is right.",
            "agent": "worker-0",
            "state": "unchanged",
        },
    ),
    503: _Shared(
        "ServiceUnavailable",
        "The agent lacks the component or is busy, or the control plane's database failed.",
        AGENT_FAILURE,
        {
            "error": "Not recorded",
            "message": "The change could not be recorded, so no agent was called. Check the "
            "control plane's database and try again.",
            "state": "unchanged",
        },
    ),
    504: _Shared(
        "GatewayTimeout",
        "The agent did not answer in time.",
        AGENT_FAILURE,
        {
            "error": "Agent timeout",
            "message": "Agent 'worker-0' did not answer within 30 s; ask it for its state before "
            "trying again.",
            "agent": "worker-0",
            "state": "unknown",
        },
    ),
}
RESPONSES: dict[str, dict[str, Any]] = {
    shared.name: {
        "description": shared.description,
        "content": {
            "application/json": {
                "schema": referred(shared.schema),
                "examples": {"example": {"value": shared.example}},
            }
        },
    }
    for shared in _SHARED.values()
}
"""The document's `components.responses`."""


def shared_answers(statuses: Iterable[int]) -> dict[str, dict[str, str]]:
    """References to the answers of these statuses, in their order."""
    return {
        str(status): {"$ref": f"#/components/responses/{_SHARED[status].name}"}
        for status in sorted(statuses)
    }


def problem(
    status: HTTPStatus, error: str, message: str, description: str, **extra: object
) -> dict[int, OpenApiResponse]:
    """One error answer of an operation's own, with its body as the example; to be
    merged into the operation's `responses`."""
    schema = {HTTPStatus.CONFLICT: CONFLICT}.get(status, schemas.ERROR)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        schema = AGENT_FAILURE
    example = {"error": error, "message": message, **extra}
    return {
        status.value: OpenApiResponse(
            referred(schema), description, [OpenApiExample(error, value=example)]
        )
    }


def usual(*statuses: int) -> dict[int, OpenApiResponse]:
    """The answers of these statuses with their usual bodies; to be merged into the
    `responses` of an operation that does not give them by what it takes."""
    return {
        status: OpenApiResponse(
            referred(shared.schema),
            shared.description,
            [OpenApiExample(str(shared.example["error"]), value=shared.example)],
        )
        for status, shared in _SHARED.items()
        if status in statuses
    }
