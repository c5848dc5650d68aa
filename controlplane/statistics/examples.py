"""Examples for the OpenAPI document."""

SNAPSHOT = {
    "id": 11,
    "agent": "smollm2-scheduler",
    "engine": "smollm2",
    "taken_at": "2026-11-23T21:00:00Z",
    "reported_at": 1795467600.0,
    "trigger": "interval",
    "boot_id": "8f14e45fceea167a5a36dedd4bea2543",
    "run": 2,
    "enabled": True,
    "strategy": "memory_bloom_filter",
    "total_requests": 40,
    "total_chunks": 1000,
    "unique_chunks": 500,
    "duplicate_chunks": 500,
    "reuse_rate": 0.5,
    "counters": {"lookup_requests": 40.0, "lookup_seconds": 0.08},
    "resolution_s": 0,
}
SAMPLE = {"agent": "smollm2-scheduler"}
BUCKET = {
    "start": "2026-11-23T20:00:00Z",
    "end": "2026-11-23T21:00:00Z",
    "samples": 60,
    "runs": 1,
    "total_requests": 40,
    "total_chunks": 1000,
    "unique_chunks": 500,
    "duplicate_chunks": 500,
    "reuse_rate": 0.5,
}
_TIERS = {
    "LocalCPUBackend": {
        "looked_up_tokens": 7680,
        "hit_tokens": 5120,
        "chunks": 20,
        "used_bytes": 117964800,
        "capacity_bytes": 1073741824,
    },
    "LocalDiskBackend": {
        "looked_up_tokens": 2560,
        "hit_tokens": 1280,
        "chunks": 40,
        "used_bytes": 235929600,
        "capacity_bytes": 10737418240,
    },
}
TIER_SNAPSHOT = {
    "id": 12,
    "agent": "smollm2-worker-0",
    "engine": "smollm2",
    "taken_at": "2026-11-23T21:00:00Z",
    "trigger": "interval",
    "boot_id": "8f14e45fceea167a5a36dedd4bea2543",
    "run": 2,
    "requested_tokens": 7680,
    "retrieved_tokens": 6400,
    "stored_tokens": 10240,
    "tiers": _TIERS,
    "resolution_s": 0,
}
TIER_BUCKET = {
    "start": "2026-11-23T20:00:00Z",
    "end": "2026-11-23T21:00:00Z",
    "samples": 60,
    "runs": 1,
    "agents": 1,
    "requested_tokens": 7680,
    "retrieved_tokens": 6400,
    "stored_tokens": 10240,
    "tiers": {
        name: {**tier, "hit_rate": tier["hit_tokens"] / tier["looked_up_tokens"]}
        for name, tier in _TIERS.items()
    },
    "begun": [],
}
