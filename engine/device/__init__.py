"""Paged KV caches on CUDA or CPU: layout, gather, scatter, checksums, slots."""

from engine.device.paged import PagedKVCache
from engine.device.slots import SlotOutOfBounds, SlotsUnreadable, check_slots, split_runs
from engine.device.spec import KVCacheSpec

__all__ = [
    "KVCacheSpec",
    "PagedKVCache",
    "SlotOutOfBounds",
    "SlotsUnreadable",
    "check_slots",
    "split_runs",
]
