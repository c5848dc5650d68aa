"""Identifiers of operations: UUID version 7 (RFC 9562), so that new rows sit
next to each other in the index and sort by time."""

import secrets
import time
import uuid


def new_operation_id() -> uuid.UUID:
    """48 bits of milliseconds since 1970, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random_a = secrets.randbits(12)
    random_b = secrets.randbits(62)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | random_a << 64 | 0b10 << 62 | random_b)
