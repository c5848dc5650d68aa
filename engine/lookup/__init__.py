"""How much of a prompt is cached: the scheduler asks, its workers answer."""

from engine.lookup.client import PENDING, LookupClient, Pending, Prompt

__all__ = ["PENDING", "LookupClient", "Pending", "Prompt"]
