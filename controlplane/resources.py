"""The control plane's own resources, at `/api/v1/<name>/`, and the names of their routes."""

ROUTES = {
    "agents": "agent-list",
    "engines": "engine-list",
    "operations": "operation-list",
    "chunk-statistics": "chunkstatisticssnapshot-list",
    "tier-statistics": "tierstatisticssnapshot-list",
    "watches": "watch-list",
    "controllers": "controller-list",
    "config-revisions": "configrevision-list",
    "modes": "desiredmode-list",
    "mode-changes": "modechange-list",
    "audit": "auditentry-list",
    "users": "user-list",
    "tokens": "apitoken-list",
    "enrolment-tokens": "enrolmenttoken-list",
}
OWN_RESOURCES = frozenset(ROUTES)
