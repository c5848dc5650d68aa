"""Keeping what agents say of their tiers."""

from collections.abc import Mapping

from controlplane.fleet.models import Agent
from controlplane.statistics.appending import Asked, Sample
from controlplane.statistics.counted import read_text
from controlplane.statistics.models import TierStatisticsSnapshot, Trigger
from controlplane.statistics.tiers_told import read_tiers, read_token_counts


def tier_sample(
    agent: Agent, status: Mapping[str, object], trigger: Trigger, asked: Asked
) -> Sample[TierStatisticsSnapshot]:
    """What the agent says of its tiers in an answer of `/agent/status`, to be appended.
    Raises InvalidSample for what cannot be kept; see tells_of_tiers()."""
    snapshot = TierStatisticsSnapshot(
        agent=agent.name,
        engine=agent.engine.name,
        taken_at=asked.answered_at,
        trigger=trigger,
        tiers=read_tiers(status),
        boot_id=read_text("boot_id", status.get("boot_id", "")),
        **read_token_counts(status.get("counters")),
    )
    return Sample(agent, snapshot, asked)
