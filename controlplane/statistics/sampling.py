"""Keeping what agents say of the chunks that they counted."""

from collections.abc import Mapping

from controlplane.fleet.models import Agent
from controlplane.statistics.appending import Asked, Sample, append
from controlplane.statistics.counted import read_counters, read_status, read_text
from controlplane.statistics.errors import OvertakenSample
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger


def record_sample(
    agent: Agent,
    status: Mapping[str, object],
    counters: Mapping[str, object],
    boot_id: str,
    trigger: Trigger,
    asked: Asked,
) -> ChunkStatisticsSnapshot:
    """Write what the agent said as one row, in a transaction of its own or the caller's.

    `status` is the body of `/chunk_statistics/status`, `counters` and `boot_id` are from
    `/agent/status` ({} and "" for an agent that has none). Whether the row opens a new run is
    told as append() says.

    Raises InvalidSample for what cannot be kept, and OvertakenSample if a row of the agent
    is on record that was taken later; either way nothing is written. Also raises
    django.db.DatabaseError.
    """
    counted = read_status(status)
    snapshot = ChunkStatisticsSnapshot(
        agent=agent.name,
        engine=agent.engine.name,
        taken_at=asked.answered_at,
        reported_at=counted.reported_at,
        trigger=trigger,
        boot_id=read_text("boot_id", boot_id),
        enabled=counted.enabled,
        strategy=counted.strategy,
        total_requests=counted.total_requests,
        total_chunks=counted.total_chunks,
        unique_chunks=counted.unique_chunks,
        duplicate_chunks=counted.duplicate_chunks,
        reuse_rate=counted.reuse_rate,
        counters=read_counters(counters),
    )
    if not append([Sample(agent, snapshot, asked)]):
        raise OvertakenSample(agent.name)
    return snapshot
