"""Examples for the OpenAPI document."""

_HOLDER = "control-1:4711:66d776e6"
WATCH = {
    "agent": "smollm2-worker-0",
    "engine": "smollm2",
    "health": "online",
    "last_seen_at": "2026-11-23T21:00:00Z",
    "policy": "report",
    "own_policy": True,
    "boot_id": "8f14e45fceea167a5a36dedd4bea2543",
    "polled_at": "2026-11-23T21:00:00Z",
    "missed": 0,
    "drift": {
        "configuration": {"min_retrieve_tokens": {"from": 0, "to": 512}},
        "modes": {"freeze": {"from": False, "to": True}},
    },
    "drift_since": "2026-11-23T20:59:00Z",
    "attempts": 0,
    "next_attempt_at": None,
    "gave_up_at": None,
    "last_error": "",
    "holder": _HOLDER,
}
WATCH_CHANGES = {"policy": "report"}
CONTROLLER = {
    "id": 1,
    "name": _HOLDER,
    "started_at": "2026-11-23T20:00:00Z",
    "seen_at": "2026-11-23T21:00:00Z",
    "alive_until": "2026-11-23T21:00:20Z",
    "agents": 3,
    "cycle_ms": 83.2,
}
