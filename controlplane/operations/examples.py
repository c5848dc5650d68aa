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
OPERATION_SUMMARY = {
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
    "paused_until": None,
    "rollback_began_at": None,
    "target_counts": {"succeeded": 1},
    "targets_url": f"http://127.0.0.1:8000/api/v1/operations/{OPERATION_ID}/targets/",
}
TARGET = {
    "agent": "smollm2-worker-0",
    "wave": 0,
    "state": "succeeded",
    "undone": False,
    "undo_error": "",
    "status": 200,
    "answer": endpoint("enable_freeze").response_example,
    "error": None,
    "duration_ms": 2.3,
}
OPERATION = {**OPERATION_SUMMARY, "targets": [TARGET], "targets_left_out": 0}
NEW_OPERATION = {
    "action": "freeze.enable",
    "selector": {"engines": ["smollm2"]},
    "strategy": _STRATEGY,
    "expires_in_s": 1200,
    "reason": "deploy",
}
