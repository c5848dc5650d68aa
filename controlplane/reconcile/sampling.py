"""Statistics of what was just polled."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice

from django.conf import settings
from django.db import transaction

from controlplane.reconcile.sighting import Sighting
from controlplane.rows import Changed, update_rows
from controlplane.statistics.errors import InvalidSample, OvertakenSample
from controlplane.statistics.models import TierStatisticsSnapshot, Trigger
from controlplane.statistics.services import (
    Asked,
    Sample,
    append,
    record_sample,
    tells_of_tiers,
    tier_sample,
)

logger = logging.getLogger(__name__)
# Small enough that other writers of SQLite need not wait long.
_ROWS_AT_ONCE = 50


def sample(sightings: Sequence[Sighting]) -> None:
    """Keep what each agent counted of chunks and of its tiers, once an interval and at the
    first sight of a new start. One agent of an engine counts chunks, but every worker has
    tiers: those of many are written together."""
    interval = timedelta(seconds=settings.KVPLANE_STATISTICS_SECONDS)
    due = (
        sighting
        for sighting in sightings
        if _is_due(sighting, interval)
        and (_counts_chunks(sighting) or tells_of_tiers(sighting.status))
    )
    while some := list(islice(due, _ROWS_AT_ONCE)):
        for sighting in filter(_counts_chunks, some):
            _keep_chunks(sighting)
        with transaction.atomic():
            if tiers := list(_tier_samples(some)):
                append(tiers)
            update_rows(*[_noted(sighting) for sighting in some])


def _is_due(sighting: Sighting, interval: timedelta) -> bool:
    before = sighting.watch.sampled_at
    return before is None or _has_restarted(sighting) or sighting.answered_at - before >= interval


def _has_restarted(sighting: Sighting) -> bool:
    watch = sighting.watch
    return watch.sampled_at is not None and watch.sampled_boot_id != sighting.boot_id


def _counts_chunks(sighting: Sighting) -> bool:
    return isinstance(sighting.status.get("chunk_statistics"), Mapping)


def _keep_chunks(sighting: Sighting) -> None:
    agent = sighting.watch.agent
    status, counters = (sighting.status.get(name) for name in ("chunk_statistics", "counters"))
    try:
        record_sample(
            agent,
            status if isinstance(status, Mapping) else {},
            counters if isinstance(counters, Mapping) else {},
            sighting.boot_id,
            _trigger(sighting),
            _asked(sighting),
        )
    except OvertakenSample as error:
        logger.debug("%s", error)
    except InvalidSample as error:
        logger.warning("statistics of %s not kept: %s", agent.name, error)


def _tier_samples(sightings: Sequence[Sighting]) -> Iterator[Sample[TierStatisticsSnapshot]]:
    for sighting in sightings:
        if not tells_of_tiers(sighting.status):
            continue
        agent = sighting.watch.agent
        try:
            yield tier_sample(agent, sighting.status, _trigger(sighting), _asked(sighting))
        except InvalidSample as error:
            logger.warning("statistics of the tiers of %s not kept: %s", agent.name, error)


def _trigger(sighting: Sighting) -> Trigger:
    return Trigger.RESTART if _has_restarted(sighting) else Trigger.INTERVAL


def _asked(sighting: Sighting) -> Asked:
    return Asked(sighting.asked_at, sighting.answered_at)


def _noted(sighting: Sighting) -> Changed:
    watch = sighting.watch
    watch.sampled_at, watch.sampled_boot_id = sighting.answered_at, sighting.boot_id
    return Changed(watch, ("sampled_at", "sampled_boot_id"))
