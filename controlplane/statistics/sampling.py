"""Writing snapshots, and telling where the counts of an agent began anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from controlplane.fleet.models import Agent
from controlplane.rows import insert_rows
from controlplane.statistics.counted import read_counters, read_status, read_text
from controlplane.statistics.errors import OvertakenSample
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger

_MAX_OVERTAKING_S = 60.0
"""Answers of one process pass each other by seconds. By more than this its clock was set
back."""


@dataclass(frozen=True)
class Asked:
    """When an agent was asked, and when its answer arrived, by this machine's clock."""

    at: datetime
    answered_at: datetime


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
    `/agent/status` ({} and "" for an agent that has none). The counts began anew, and the
    row opens a new run, if the boot id differs, a count went down, or the trigger is RESET.

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
    with transaction.atomic():
        _lock(agent)
        latest = ChunkStatisticsSnapshot.objects.filter(agent=agent.name).order_by(
            "-taken_at", "-id"
        )
        snapshot.run = _run_after(latest.defer("counters").first(), snapshot, asked)
        insert_rows(snapshot)
    return snapshot


def _lock(agent: Agent) -> None:
    # The agent's own row, because before the first snapshot there is none to lock.
    # SQLite locks the whole database when the transaction begins.
    list(Agent.objects.select_for_update(no_key=True).filter(pk=agent.pk).values_list("pk"))


def _run_after(
    latest: ChunkStatisticsSnapshot | None, snapshot: ChunkStatisticsSnapshot, asked: Asked
) -> int:
    if latest is None:
        return 1
    if _is_overtaken(snapshot, latest, asked):
        raise OvertakenSample(snapshot.agent)
    began_anew = (
        snapshot.boot_id != latest.boot_id
        or snapshot.trigger == Trigger.RESET
        or _went_down(latest, snapshot)
    )
    return latest.run + 1 if began_anew else latest.run


def _is_overtaken(
    snapshot: ChunkStatisticsSnapshot, latest: ChunkStatisticsSnapshot, asked: Asked
) -> bool:
    """Whether `latest` is the later one: by our clock, or, for answers of one process that
    may have passed each other on their way, by the process's. Lower counts would look like
    counts that began anew, and all of them would be counted twice."""
    if snapshot.taken_at < latest.taken_at:
        return True
    if asked.at >= latest.taken_at:
        # Whatever the agent's clock says, which somebody may have set.
        return False
    behind = latest.reported_at - snapshot.reported_at
    return snapshot.boot_id == latest.boot_id and 0 < behind <= _MAX_OVERTAKING_S


def _went_down(before: ChunkStatisticsSnapshot, after: ChunkStatisticsSnapshot) -> bool:
    return (
        after.total_requests < before.total_requests
        or after.total_chunks < before.total_chunks
        or after.unique_chunks < before.unique_chunks
        or after.duplicate_chunks < before.duplicate_chunks
    )
