"""Examples for the OpenAPI document."""

from controlplane.rest.examples import CALLER, OPERATION_ID

_CHANGE = {"min_retrieve_tokens": {"from": 0, "to": 512}}
REVISION = {
    "id": 11,
    "agent": "smollm2-worker-0",
    "number": 5,
    "parent": 4,
    "restored_from": None,
    "state": "active",
    "source": "change",
    "requested": {"min_retrieve_tokens": 512},
    "diff": _CHANGE,
    "refused": {},
    "complete": True,
    "operation_id": OPERATION_ID,
    **CALLER,
    "reason": "short prefixes are not worth it",
    "created_at": "2026-11-23T21:00:00Z",
    "settled_at": "2026-11-23T21:00:01Z",
}
REVISION_DETAIL = {**REVISION, "values": {"chunk_size": 256, "min_retrieve_tokens": 512}}
DIFF = {"agent": "smollm2-worker-0", "before": 4, "after": 5, "diff": _CHANGE}
PREVIEW = {
    "agent": "smollm2-worker-0",
    "active": 5,
    "target": 4,
    "changes": {"min_retrieve_tokens": {"from": 512, "to": 0}},
    "left": {},
    "problems": {},
}
ROLLBACK = {"expected_revision": 5, "reason": "it was slower"}
