"""How much of a prompt is cached: the scheduler asks, its workers answer."""

from engine.lookup.client import PENDING, LookupClient, Pending, Prompt
from engine.lookup.errors import LookupUnavailable
from engine.lookup.factory import NOBODY
from engine.lookup.index import ChunkIndex, LocalWorkers
from engine.lookup.managing import (
    Lookup,
    LookupClients,
    LookupServers,
    Replacement,
    StatisticsUnavailable,
)

__all__ = [
    "NOBODY",
    "PENDING",
    "ChunkIndex",
    "LocalWorkers",
    "Lookup",
    "LookupClient",
    "LookupClients",
    "LookupServers",
    "LookupUnavailable",
    "Pending",
    "Prompt",
    "Replacement",
    "StatisticsUnavailable",
]
