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
