"""What each backend counted since the start, under the names by which it is told."""

from dataclasses import dataclass

from engine.storage import Count


@dataclass(frozen=True)
class BackendCount:
    """A count, its name, and what it means."""

    count: Count
    name: str
    help: str


STATUS_COUNTS = (
    BackendCount(
        Count.LOOKED_UP_TOKENS, "looked_up_tokens", "Tokens that a retrieve asked the backend for."
    ),
    BackendCount(Count.FOUND_TOKENS, "hit_tokens", "Tokens that a retrieve got from the backend."),
)
"""Those that `/agent/status` tells; whole numbers."""
METRICS_COUNTS = (
    BackendCount(
        Count.LOOKED_UP_CHUNKS, "looked_up_chunks", "Chunks that a retrieve asked the backend for."
    ),
    BackendCount(Count.FOUND_CHUNKS, "hit_chunks", "Chunks that a retrieve got from the backend."),
    *STATUS_COUNTS,
    BackendCount(Count.STORED_CHUNKS, "stored_chunks", "Chunks written to the backend."),
    BackendCount(Count.STORED_BYTES, "stored_bytes", "Bytes of KV written to the backend."),
    BackendCount(Count.STORE_SECONDS, "store_seconds", "Seconds that writing to the backend took."),
    BackendCount(Count.LOADED_CHUNKS, "loaded_chunks", "Chunks read from the backend."),
    BackendCount(Count.LOADED_BYTES, "loaded_bytes", "Bytes of KV read from the backend."),
    BackendCount(Count.LOAD_SECONDS, "load_seconds", "Seconds that reading from the backend took."),
    BackendCount(
        Count.QUARANTINED_FILES, "quarantined_files", "Broken or foreign files put aside."
    ),
)
"""Those that `/metrics` tells."""
