"""Examples for the OpenAPI document."""

from controlplane.rest.examples import CALLER, OPERATION_ID

DESIRED_MODE = {
    "id": 3,
    "agent": "smollm2-worker-0",
    "mode": "freeze",
    "backend": "",
    "value": True,
    "since": "2026-11-23T21:00:01Z",
    "expires_at": "2026-11-23T21:20:00Z",
    "revert_to": False,
    "revert_attempts": 0,
    "next_revert_at": None,
    "revert_gave_up_at": None,
    "revert_error": "",
    "actor_name": CALLER["actor_name"],
    "reason": "deploy",
    "operation_id": OPERATION_ID,
}
MODE_CHANGE = {
    "id": 87,
    "agent": "smollm2-worker-0",
    "mode": "freeze",
    "backend": "",
    "from_value": False,
    "to_value": True,
    "state": "applied",
    "source": "change",
    "expires_at": "2026-11-23T21:20:00Z",
    "revert_to": False,
    "from_expires_at": None,
    "from_revert_to": None,
    "operation_id": OPERATION_ID,
    **CALLER,
    "reason": "deploy",
    "created_at": "2026-11-23T21:00:00Z",
    "settled_at": "2026-11-23T21:00:01Z",
}
