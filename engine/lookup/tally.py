"""What lookups did since the start; outlives the clients and servers that did it."""

import threading
from enum import StrEnum


class Event(StrEnum):
    """What is counted, by the name under which it is shown."""

    LOOKUPS = "lookup_requests"
    TOKENS = "lookup_tokens"
    HIT_TOKENS = "lookup_hit_tokens"
    SECONDS = "lookup_seconds"
    TIMEOUTS = "lookup_timeouts"
    UNREACHABLE = "lookup_unreachable"
    REFUSALS = "lookup_refusals"
    SERVED = "lookup_served_requests"
    SERVED_CHUNKS = "lookup_served_chunks"
    SERVED_HIT_CHUNKS = "lookup_served_hit_chunks"
    SERVED_FAULTS = "lookup_served_faults"


SCHEDULER_EVENTS = (
    Event.LOOKUPS,
    Event.TOKENS,
    Event.HIT_TOKENS,
    Event.SECONDS,
    Event.TIMEOUTS,
    Event.UNREACHABLE,
    Event.REFUSALS,
)
WORKER_EVENTS = (
    Event.SERVED,
    Event.SERVED_CHUNKS,
    Event.SERVED_HIT_CHUNKS,
    Event.SERVED_FAULTS,
)


class LookupTally:
    """Counters. Thread-safe."""

    def __init__(self, events: tuple[Event, ...]) -> None:
        self._counts: dict[Event, float] = dict.fromkeys(events, 0)
        self._counting = threading.Lock()

    def add(self, event: Event, amount: float = 1) -> None:
        with self._counting:
            self._counts[event] += amount

    def snapshot(self) -> dict[str, float]:
        """The counters by name."""
        with self._counting:
            return {event.value: count for event, count in self._counts.items()}
