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
AGENT_DETAIL = {**AGENT, "last_status": endpoint("get_agent_status").response_example}
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
