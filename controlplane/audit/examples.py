"""Examples for the OpenAPI document."""

from controlplane.rest.examples import CALLER, OPERATION_ID
from engine.contract import endpoint

ENTRY = {
    "id": 288,
    "created_at": "2026-11-23T21:00:01Z",
    "stage": "completed",
    "action": "freeze.enable",
    "operation_id": OPERATION_ID,
    **CALLER,
    "on_behalf_of": "",
    "source_address": "10.0.0.3",
    "user_agent": "python-httpx/0.28.1",
    "target": "agent:smollm2-worker-0",
    "agent": "smollm2-worker-0",
    "engine": "smollm2",
    "reason": "deploy",
    "request": {},
    "answer": endpoint("enable_freeze").response_example,
    "before": {"freeze": False},
    "after": {"freeze": True},
    "diff": {"freeze": {"from": False, "to": True}},
    "outcome": "succeeded",
    "status": 200,
    "duration_ms": 1.1,
    "key_id": "k1",
    "previous": "7807fc7e438a2ba25fb861ceb87ded2eaca82934940fbb2c52f4b08b32d0fa93",
    "mac": "6de0312eb68e7ed5442a836c4cbe313fe417c5a7a39494e87c35efbc58932d1d",
    "links": {
        "operation": f"http://127.0.0.1:8000/api/v1/audit?operation={OPERATION_ID}",
        "agent": "http://127.0.0.1:8000/api/v1/audit?agent=smollm2-worker-0",
    },
}
VERIFICATION = {
    "ok": True,
    "entries": 288,
    "first": 1,
    "last": 288,
    "archived_up_to": 0,
    "kept": 0,
    "heads": 2,
    "signed_up_to": 280,
    "problem": None,
}
LATEST_VERIFICATION = {
    "checked_at": "2026-11-23T21:00:00Z",
    "checked_by": "anna",
    "result": VERIFICATION,
}
