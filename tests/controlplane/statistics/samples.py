"""What agents say about their chunk statistics, and the moments at which they say it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controlplane.fleet.models import Agent
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger
from controlplane.statistics.services import Asked, record_sample

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """That many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def asked(seconds: float) -> Asked:
    """A question to which the answer came that many seconds after noon."""
    return Asked(at(seconds - 0.2), at(seconds))


def counted(
    unique: int, duplicate: int = 0, requests: int = 1, **more: object
) -> dict[str, object]:
    """An answer of `/chunk_statistics/status` as the contract has it."""
    total = unique + duplicate
    return {
        "is_collecting": True,
        "total_chunks": total,
        "unique_chunks": unique,
        "timestamp": NOON.timestamp(),
        "auto_exit_enabled": False,
        "auto_exit_timeout_hours": 0.0,
        "auto_exit_target_unique_chunks": None,
        "total_requests": requests,
        "duplicate_chunks": duplicate,
        "reuse_rate": duplicate / total if total else 0.0,
        "strategy": "memory_bloom_filter",
        **more,
    }


@dataclass
class Reporter:
    """An agent, and the boot that it is in."""

    agent: Agent
    boot_id: str = "boot-1"

    def says(
        self,
        seconds: float,
        unique: int,
        duplicate: int = 0,
        requests: int = 1,
        trigger: Trigger = Trigger.INTERVAL,
    ) -> ChunkStatisticsSnapshot:
        """Record these counts as of that many seconds after noon."""
        taken_at = at(seconds)
        return record_sample(
            self.agent,
            counted(unique, duplicate, requests, timestamp=taken_at.timestamp()),
            {"lookup_requests": requests},
            self.boot_id,
            trigger,
            asked(seconds),
        )
