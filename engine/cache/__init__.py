"""The cache engine: store, retrieve, look up, clear."""

from engine.cache.cache_engine import CacheEngine
from engine.cache.results import (
    Phase,
    RetrieveResult,
    SlotCountMismatch,
    StoreResult,
    TooManyTokens,
)

__all__ = [
    "CacheEngine",
    "Phase",
    "RetrieveResult",
    "SlotCountMismatch",
    "StoreResult",
    "TooManyTokens",
]
