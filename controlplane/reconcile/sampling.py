"""Chunk statistics of what was just polled, and forgetting old ones."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.conf import settings

from controlplane.reconcile.models import Watch
from controlplane.reconcile.sighting import Sighting
from controlplane.statistics.errors import InvalidSample, OvertakenSample
from controlplane.statistics.models import Trigger
from controlplane.statistics.services import Asked, record_sample

logger = logging.getLogger(__name__)


def sample(sightings: Sequence[Sighting]) -> None:
    """Keep the counts of each agent that counts, once an interval and at the first
    sight of a new start."""
    interval = timedelta(seconds=settings.KVPLANE_STATISTICS_SECONDS)
    for sighting in sightings:
        status = sighting.status.get("chunk_statistics")
        if isinstance(status, Mapping):
            _sample(sighting, status, interval)


def _sample(sighting: Sighting, status: Mapping[str, object], interval: timedelta) -> None:
    watch = sighting.watch
    restarted = watch.sampled_at is not None and watch.sampled_boot_id != sighting.boot_id
    due = watch.sampled_at is None or sighting.answered_at - watch.sampled_at >= interval
    if not (restarted or due):
        return
    counters = sighting.status.get("counters")
    try:
        record_sample(
            watch.agent,
            status,
            counters if isinstance(counters, Mapping) else {},
            sighting.boot_id,
            Trigger.RESTART if restarted else Trigger.INTERVAL,
            Asked(sighting.asked_at, sighting.answered_at),
        )
    except OvertakenSample:
        logger.debug("a later sample of %s is on record", watch.agent.name)
    except InvalidSample as error:
        logger.warning("statistics of %s not kept: %s", watch.agent.name, error)
    Watch.objects.filter(pk=watch.pk).update(
        sampled_at=sighting.answered_at, sampled_boot_id=sighting.boot_id
    )
