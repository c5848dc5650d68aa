"""What agents say about their tiers, and the moments at which they say it."""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.fleet.models import Agent
from controlplane.statistics.models import TierStatisticsSnapshot, Trigger
from controlplane.statistics.services import Asked, append, tier_sample
from tests.controlplane.statistics.samples import asked

MEMORY, DISK = "LocalCPUBackend", "LocalDiskBackend"
KIB = 1 << 10


def tier(looked_up: int, hit: int, chunks: int = 1, capacity: int = 64 * KIB) -> dict[str, object]:
    """One backend as `/agent/status` tells of it; each chunk takes a KiB."""
    return {
        "capacity_bytes": capacity,
        "used_bytes": chunks * KIB,
        "chunks": chunks,
        "looked_up_tokens": looked_up,
        "hit_tokens": hit,
    }


def told(
    tiers: Mapping[str, Mapping[str, object]], boot_id: str = "boot-1", **counters: object
) -> dict[str, object]:
    """What of an answer of `/agent/status` is looked at."""
    return {"boot_id": boot_id, "storage": dict(tiers), "counters": counters}


TOLD = told(
    {MEMORY: tier(10, 4), DISK: tier(6, 3)},
    requested_tokens=10,
    retrieved_tokens=7,
    stored_tokens=20,
)


def record_tiers(
    agent: Agent, status: Mapping[str, object], asked: Asked, trigger: Trigger = Trigger.INTERVAL
) -> list[TierStatisticsSnapshot]:
    """Keep what the agent says; what was written."""
    return append([tier_sample(agent, status, trigger, asked)])


@dataclass
class TierReporter:
    """An agent, and the boot that it is in."""

    agent: Agent
    boot_id: str = "boot-1"

    def says(
        self, seconds: float, tiers: Mapping[str, Mapping[str, object]], **counters: object
    ) -> TierStatisticsSnapshot:
        """Record these tiers as of that many seconds after noon."""
        (written,) = record_tiers(self.agent, told(tiers, self.boot_id, **counters), asked(seconds))
        return written

    def says_memory(self, seconds: float, looked_up: int, hit: int) -> TierStatisticsSnapshot:
        """Record the counts of a single tier."""
        return self.says(seconds, {MEMORY: tier(looked_up, hit)})
