"""Asking all agents how they are, and keeping what they say."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from controlplane.fleet.models import Health
from controlplane.fleet.observing import Seen, record_health, record_sightings
from controlplane.forwarding import AgentFailure
from controlplane.forwarding.probe import probe
from controlplane.operations.importing import CONTROLLER
from controlplane.reconcile.models import Watch
from controlplane.reconcile.sighting import Sighting
from controlplane.rows import Changed, update_rows

# Small enough that other writers of SQLite need not wait long.
_ROWS_AT_ONCE = 50


def poll(watches: Sequence[Watch], threads: ThreadPoolExecutor, request_id: str) -> list[Sighting]:
    """Ask the agents of all watches at once. Silence is an answer too."""

    def ask(watch: Watch) -> Sighting:
        asked_at = timezone.now()
        try:
            status = probe(
                watch.agent, request_id=request_id, timeout=settings.KVPLANE_POLL_TIMEOUT
            )
        except AgentFailure as failure:
            return Sighting(watch, asked_at, timezone.now(), failure)
        return Sighting(watch, asked_at, timezone.now(), status)

    return list(threads.map(ask, watches))


def keep(sightings: Iterable[Sighting], request_id: str) -> None:
    """Write what was seen, and who was silent."""
    # Rows of agents are locked in the order of names, so that nobody waits in a circle.
    remaining = iter(sorted(sightings, key=lambda sighting: sighting.watch.agent.name))
    while some := list(islice(remaining, _ROWS_AT_ONCE)):
        with transaction.atomic():
            answered = [sighting for sighting in some if sighting.answered]
            record_sightings(
                [Seen(entry.watch.agent, entry.status, entry.asked_at) for entry in answered]
            )
            update_rows(*[_noted(sighting) for sighting in some])
            health = {sighting.watch.agent: _health_of(sighting) for sighting in some}
            record_health(health, CONTROLLER, request_id)


def _noted(sighting: Sighting) -> Changed:
    watch = sighting.watch
    watch.polled_at = sighting.asked_at
    watch.missed = 0 if sighting.answered else watch.missed + 1
    return Changed(watch, ("polled_at", "missed"))


def _health_of(sighting: Sighting) -> Health:
    if sighting.answered:
        return Health.ONLINE
    # Nobody can say that it is well; that it is gone takes more than one poll.
    gone = sighting.watch.missed >= settings.KVPLANE_OFFLINE_AFTER_MISSED
    return Health.OFFLINE if gone else Health.UNKNOWN
