"""What parameters that several operations take mean, for the OpenAPI document."""

from typing import Any, NamedTuple

from controlplane.rest.examples import OPERATION_ID


class _About(NamedTuple):
    description: str
    example: object


_ABOUT = {
    "action": _About("What was asked for, as entity.verb.", "freeze.enable"),
    "actor": _About("Name of the user, command or controller that asked.", "anna"),
    "actor_kind": _About("What kind of caller asked.", "token"),
    "against": _About("", 3),
    "agent": _About("Name of an agent.", "smollm2-worker-0"),
    "agent_name": _About("", "smollm2-worker-0"),
    "backend": _About("Name of a bypassed backend.", "RemoteBackend"),
    "bucket": _About("", 3600),
    "cursor": _About("`next_cursor` or `previous_cursor` of another page.", "cD0yMDI2LTExLTIz"),
    "dialect": _About("Which program answers at the agent's address.", "kvplane"),
    "drifted": _About("Whether the agent is not as it should be.", True),
    "engine": _About("Name of an engine.", "smollm2"),
    "expected_revision": _About("", 5),
    "expires_at": _About("", "2026-01-31T12:00:00Z"),
    "expires_in_s": _About("", 1200),
    "format": _About("", "jsonl"),
    "gave_up": _About("Whether repairs ended without success.", False),
    "health": _About("What is known of the agent's process.", "online"),
    "id": _About("The row's id.", 7),
    "is_active": _About("Whether the user may log in.", True),
    "left": _About("Whether the agent said that its process ended.", False),
    "mode": _About("Which mode.", "freeze"),
    "name": _About("The name, exactly.", "smollm2"),
    "number": _About("Number of a revision; counts from 1 for each agent.", 5),
    "operation": _About("Id of an operation.", OPERATION_ID),
    "outcome": _About("How it ended.", "succeeded"),
    "page_size": _About("Rows in a page, 1 to 500; 50 if absent.", 100),
    "reason": _About("", "deploy of 14:00"),
    "request_id": _About("The X-Request-ID of a request.", "3f2b8a9c6d1e4f70"),
    "revoked": _About("Whether the token is revoked.", False),
    "role": _About("Which role.", "worker"),
    "run": _About("Number of a run of the agent.", 2),
    "since": _About("At that moment or later.", "2026-01-31T12:00:00Z"),
    "source": _About("Where the change comes from.", "change"),
    "stage": _About("Whether it was asked for or has ended.", "completed"),
    "state": _About("How far it has come.", "failed"),
    "status": _About("HTTP status of the answer.", 200),
    "target": _About("What it was done to.", "agent:smollm2-worker-0"),
    "temporary": _About("Whether the mode ends by itself.", True),
    "text": _About("", "min_retrieve_tokens"),
    "trigger": _About("Why the snapshot was taken.", "interval"),
    "until": _About("Before that moment.", "2026-02-01T12:00:00Z"),
    "user": _About("Name of the user whose token it is.", "anna"),
    "username": _About("The name, exactly.", "anna"),
    "value": _About("Whether the mode is on.", True),
    "wait": _About("", 30),
    "If-Match": _About("", '"5"'),
    "Idempotency-Key": _About("", "deploy-1400"),
    "X-KVPlane-Expires-In": _About("", 1200),
    "X-KVPlane-Expires-At": _About("", "2026-01-31T12:00:00Z"),
    "X-KVPlane-Reason": _About("", "deploy of 14:00"),
}


def describe(parameter: dict[str, Any]) -> None:
    """Add the description and the example that the parameter lacks. What an enumeration
    lists is in its schema, so that is no description."""
    about = _ABOUT.get(parameter["name"])
    values = parameter["schema"].get("enum")
    said = parameter.get("description", "")
    if about is not None and about.description and (not said or said.startswith("* `")):
        parameter["description"] = about.description
    if "examples" not in parameter and "example" not in parameter:
        if values:
            parameter["example"] = values[0]
        elif about is not None:
            is_uuid = parameter["schema"].get("format") == "uuid"
            parameter["example"] = OPERATION_ID if is_uuid else about.example
