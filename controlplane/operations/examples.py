"""Examples for the OpenAPI document."""

from controlplane.rest.examples import CALLER, OPERATION_ID
from engine.contract import endpoint

_STRATEGY = {
    "canary": 1,
    "wave_size": 8,
    "pause_s": 5.0,
    "max_failures": 0,
    "on_failure": "rollback",
}
OPERATION = {
    "id": OPERATION_ID,
    "action": "freeze.enable",
    "endpoint": "enable_freeze",
    "query": "",
    "body": None,
    "state": "succeeded",
    "reason": "deploy",
    **CALLER,
    "source_address": "10.0.0.3",
    "user_agent": "python-httpx/0.28.1",
    "on_behalf_of": "",
    "created_at": "2026-11-23T21:00:00Z",
    "finished_at": "2026-11-23T21:00:01Z",
    "selector": {"engines": ["smollm2"]},
    "strategy": _STRATEGY,
    "options": {"expires_at": "2026-11-23T21:20:00Z"},
    "concurrency": 64,
    "timeout_s": 30.0,
    "retry_of": None,
    "undo_of": None,
    "idempotency_key": "deploy-1400",
    "cancel_requested_at": None,
    "targets": [
        {
            "agent": "smollm2-worker-0",
            "wave": 0,
            "state": "succeeded",
            "undone": False,
            "status": 200,
            "answer": endpoint("enable_freeze").response_example,
            "error": None,
            "duration_ms": 2.3,
        }
    ],
}
NEW_OPERATION = {
    "action": "freeze.enable",
    "selector": {"engines": ["smollm2"]},
    "strategy": _STRATEGY,
    "expires_in_s": 1200,
    "reason": "deploy",
}
