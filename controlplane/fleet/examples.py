"""Examples for the OpenAPI document."""

from engine.contract import endpoint

ENGINE = {
    "name": "smollm2",
    "labels": {"zone": "a"},
    "created_at": "2026-11-23T20:00:00Z",
    "agents": ["smollm2-scheduler", "smollm2-worker-0"],
}
NEW_ENGINE = {"name": "smollm2", "labels": {"zone": "a"}}
AGENT = {
    "name": "smollm2-worker-0",
    "engine": "smollm2",
    "role": "worker",
    "worker_id": 0,
    "url": "http://10.0.0.7:7000",
    "dialect": "kvplane",
    "has_token": True,
    "labels": {"rack": "7"},
    "instance_id": "smollm2",
    "boot_id": "8f14e45fceea167a5a36dedd4bea2543",
    "registered_at": "2026-11-23T20:00:00Z",
    "last_seen_at": "2026-11-23T21:00:00Z",
    "health": "online",
    "health_since": "2026-11-23T20:00:05Z",
    "left_at": None,
}
_KEPT = {
    "revisions": "/api/v1/config-revisions/?agent=smollm2-worker-0",
    "modes": "/api/v1/modes/?agent=smollm2-worker-0",
    "mode_changes": "/api/v1/mode-changes/?agent=smollm2-worker-0",
    "operations": "/api/v1/operations/?agent=smollm2-worker-0",
    "chunk_statistics": "/api/v1/chunk-statistics/?agent=smollm2-worker-0",
    "tier_statistics": "/api/v1/tier-statistics/?agent=smollm2-worker-0",
    "watch": "/api/v1/watches/smollm2-worker-0/",
    "audit": "/api/v1/audit/?agent=smollm2-worker-0",
    "status": "/agents/smollm2-worker-0/agent/status",
}
AGENT_DETAIL = {
    **AGENT,
    "last_status": endpoint("get_agent_status").response_example,
    "links": {name: f"http://127.0.0.1:8000{path}" for name, path in _KEPT.items()},
}
NEW_AGENT = {
    "name": "smollm2-worker-0",
    "engine": "smollm2",
    "role": "worker",
    "worker_id": 0,
    "url": "http://10.0.0.7:7000",
    "token": "a-long-random-string",
    "labels": {"rack": "7"},
}
AGENT_CHANGES = {name: value for name, value in NEW_AGENT.items() if name != "name"}
ENROLMENT = {
    "name": "smollm2-worker-0",
    "engine": "smollm2",
    "role": "worker",
    "worker_id": 0,
    "url": "http://10.0.0.7:7000",
    "instance_id": "smollm2",
    "agent_token": "a-long-random-string",
    "boot_id": "8f14e45fceea167a5a36dedd4bea2543",
}
DEPARTURE = {
    "name": "smollm2-worker-0",
    "agent_token": "a-long-random-string",
    "boot_id": "8f14e45fceea167a5a36dedd4bea2543",
}
ENROLMENT_TOKEN = {
    "id": 1,
    "name": "rack 7",
    "prefix": "kvpe_FrKGij",
    "created_at": "2026-11-23T20:00:00Z",
    "expires_at": None,
    "revoked_at": None,
}
NEW_ENROLMENT_TOKEN = {"name": "rack 7"}
ISSUED_ENROLMENT_TOKEN = {"token": "kvpe_FrKGij…", "details": ENROLMENT_TOKEN}
