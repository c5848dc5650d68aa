"""When collecting ends by itself."""

from enum import StrEnum
from typing import Protocol

_SECONDS_PER_HOUR = 3_600.0


class StatisticsSettings(Protocol):
    """The part of a configuration that ends collecting; read anew each time."""

    @property
    def chunk_statistics_auto_exit_timeout_hours(self) -> float:
        """0 is never."""

    @property
    def chunk_statistics_auto_exit_target_unique_chunks(self) -> int | None:
        """None is never."""


class AutoExit(StrEnum):
    """Why collecting ends by itself; GO_ON if it does not."""

    GO_ON = "go on"
    TIMEOUT = "timeout"
    TARGET = "target"


def auto_exit(settings: StatisticsSettings, collecting_s: float, unique_chunks: int) -> AutoExit:
    """Whether to end after `collecting_s` seconds with that many unique chunks."""
    target = settings.chunk_statistics_auto_exit_target_unique_chunks
    if target is not None and unique_chunks >= target:
        return AutoExit.TARGET
    hours = settings.chunk_statistics_auto_exit_timeout_hours
    if hours > 0 and collecting_s >= hours * _SECONDS_PER_HOUR:
        return AutoExit.TIMEOUT
    return AutoExit.GO_ON
