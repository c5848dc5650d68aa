"""What parameters that several operations take mean, for the OpenAPI document."""

from typing import Any

from controlplane.rest.examples import OPERATION_ID

_EXAMPLES: dict[str, object] = {
    "action": "freeze.enable",
    "actor": "anna",
    "actor_kind": "token",
    "against": 3,
    "agent": "smollm2-worker-0",
    "agent_name": "smollm2-worker-0",
    "backend": "RemoteBackend",
    "bucket": 3600,
    "cursor": "cD0yMDI2LTExLTIz",
    "dialect": "kvplane",
    "drifted": True,
    "engine": "smollm2",
    "expected_revision": 5,
    "expires_at": "2026-01-31T12:00:00Z",
    "expires_in_s": 1200,
    "format": "jsonl",
    "gave_up": False,
    "health": "online",
    "id": 7,
    "is_active": True,
    "left": False,
    "mode": "freeze",
    "name": "smollm2",
    "number": 5,
    "operation": OPERATION_ID,
    "outcome": "succeeded",
    "page_size": 100,
    "reason": "deploy of 14:00",
    "request_id": "3f2b8a9c6d1e4f70",
    "revoked": False,
    "role": "worker",
    "run": 2,
    "since": "2026-01-31T12:00:00Z",
    "source": "change",
    "stage": "completed",
    "state": "failed",
    "status": 200,
    "target": "agent:smollm2-worker-0",
    "temporary": True,
    "text": "min_retrieve_tokens",
    "trigger": "interval",
    "until": "2026-02-01T12:00:00Z",
    "user": "anna",
    "username": "anna",
    "value": True,
    "wait": 30,
    "If-Match": '"5"',
    "Idempotency-Key": "deploy-1400",
    "X-KVPlane-Expires-In": 1200,
    "X-KVPlane-Expires-At": "2026-01-31T12:00:00Z",
    "X-KVPlane-Reason": "deploy of 14:00",
}
_KEYS = {
    "agent": "Name of an agent.",
    "id": "The row's id.",
    "name": "The name, exactly.",
    "operation": "Id of an operation.",
}
"""Of a path; what filters and views take is described where they are."""


def describe(parameter: dict[str, Any]) -> None:
    """Add the description and the example that the parameter lacks. What an enumeration
    lists is in its schema, so that is no description."""
    name = parameter["name"]
    said, _, _ = parameter.get("description", "").partition("* `")
    if about := said.strip() or _KEYS.get(name):
        parameter["description"] = about
    if "examples" in parameter or "example" in parameter:
        return
    if values := parameter["schema"].get("enum"):
        parameter["example"] = values[0]
    elif name in _EXAMPLES:
        is_uuid = parameter["schema"].get("format") == "uuid"
        parameter["example"] = OPERATION_ID if is_uuid else _EXAMPLES[name]
