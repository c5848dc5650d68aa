"""Endpoints that an agent serves beside the catalogue: each server has its own."""

from engine.contract import Endpoint, Group, Origin, schemas

HEALTH = Endpoint(
    "get_health",
    Group.AGENT,
    "GET",
    "/health",
    "Liveness",
    "Answers while the process lives; needs no token and tells nothing else.",
    schemas.HEALTH,
    {"status": "ok"},
    origin=Origin.KVPLANE,
)

OPENAPI = Endpoint(
    "get_openapi",
    Group.AGENT,
    "GET",
    "/openapi.json",
    "This document",
    "Every endpoint of the agent as OpenAPI 3.1.",
    schemas.record(
        "OpenAPIDocument",
        {
            "openapi": schemas.text("The version of OpenAPI."),
            "info": schemas.mapping(schemas.ANYTHING),
            "paths": schemas.mapping(schemas.ANYTHING),
            "components": schemas.mapping(schemas.ANYTHING),
        },
    ),
    {
        "openapi": "3.1.0",
        "info": {"title": "KVPlane engine agent", "version": "0.1.0"},
        "paths": {},
        "components": {},
    },
    origin=Origin.KVPLANE,
)

METRICS = Endpoint(
    "get_metrics",
    Group.AGENT,
    "GET",
    "/metrics",
    "Metrics",
    "What this agent did and holds, in the text format of Prometheus.",
    schemas.TEXT,
    "# HELP kvplane_stored_tokens_total Tokens newly stored.\n"
    "# TYPE kvplane_stored_tokens_total counter\n"
    "kvplane_stored_tokens_total 8192.0\n",
    origin=Origin.KVPLANE,
    media_type="text/plain",
)

OWN_ENDPOINTS = (HEALTH, OPENAPI, METRICS)

PUBLIC = frozenset({HEALTH.operation_id})
"""Operation ids that need no token."""
