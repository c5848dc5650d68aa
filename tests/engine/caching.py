"""Slots of the engines that tests build."""

from collections.abc import Callable

from engine.cache import CacheEngine
from engine.contract import SlotRun

BuildEngine = Callable[..., CacheEngine]
EVERYTHING = [SlotRun(0, 63)]
"""All slots of the engines that build_engine makes."""


def head(num_tokens: int) -> list[SlotRun]:
    return [SlotRun(0, num_tokens - 1)]
