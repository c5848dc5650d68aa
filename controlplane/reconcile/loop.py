"""The control loop: observe, compare with what is desired, repair, sample."""

import logging
import threading
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections
from django.utils import timezone

from controlplane.operations.lease import this_process
from controlplane.reconcile import sharing
from controlplane.reconcile.attending import attend
from controlplane.reconcile.finishing import Finisher
from controlplane.reconcile.models import Controller, Watch
from controlplane.reconcile.polling import keep, poll
from controlplane.reconcile.presence import note_presence
from controlplane.reconcile.sampling import sample
from controlplane.reconcile.sighting import Sighting
from controlplane.reconcile.triage import needing_care
from controlplane.statistics.services import prune

logger = logging.getLogger(__name__)
_CARERS = 8
_PRUNE_SECONDS = 3600.0


class ControlLoop:
    """One controller. `name` tells it from the others; it runs in the thread that
    calls run(), with threads of its own for the calls to agents."""

    def __init__(self, name: str = "") -> None:
        self.name = name or f"{this_process()}"
        self._started_at = timezone.now()
        self._lease = timedelta(seconds=settings.KVPLANE_CONTROLLER_LEASE_SECONDS)
        self._pollers = ThreadPoolExecutor(settings.KVPLANE_POLL_CONCURRENCY, "poll")
        self._pruned_at = 0.0
        self._carers = ThreadPoolExecutor(_CARERS, "care")
        self._finisher = Finisher()
        self._cared_for: dict[int, tuple[Sighting, Future[None]]] = {}
        """By the key of the watch: agents that a thread attends to."""

    def run(self, stopping: threading.Event) -> None:
        """Go round until `stopping` is set. A round that fails, because the database is
        away for example, is logged, and the next one comes all the same."""
        note_presence("controller.start", self.name)
        while not stopping.is_set():
            started = time.monotonic()
            try:
                self.go_round()
            except Exception:
                # A loop that has ended would leave the whole fleet alone.
                logger.exception("a round of the control loop failed")
                close_old_connections()
            left = settings.KVPLANE_POLL_SECONDS - (time.monotonic() - started)
            stopping.wait(max(0.05, left))
        note_presence("controller.stop", self.name)

    def go_round(self) -> None:
        """One round: finish what was left open, poll, compare, repair, sample."""
        started = time.monotonic()
        request_id = uuid.uuid4().hex
        controllers = sharing.take_part(self.name, self._started_at, self._lease)
        self._finisher.finish_abandoned(self._lease.total_seconds() / 4)
        watches = sharing.hold_share(self.name, controllers, self._lease)
        sightings = poll(watches, self._pollers, request_id)
        held = sharing.still_held(self.name, watches)
        sightings = [sighting for sighting in sightings if sighting.watch.pk in held]
        keep(sightings, request_id)
        self._care_for(needing_care(sightings))
        sample(sightings)
        self._prune_at_times()
        self._note_round(watches, (time.monotonic() - started) * 1000)

    def close(self) -> None:
        """Let go of all agents, so that the other controllers need not wait."""
        self._pollers.shutdown(cancel_futures=True)
        self._carers.shutdown(cancel_futures=True)
        self._finisher.close()
        try:
            sharing.leave(self.name)
        except DatabaseError:
            logger.warning("the leases of this controller stay until they run out")

    def _care_for(self, sightings: Iterable[Sighting]) -> None:
        """Attend to each in a thread: one that hangs must not hold up the others. The
        round waits for them for half of the lease, because what it holds would be lost;
        one that hangs for longer is left to its thread, and alone."""
        for sighting in sightings:
            key = sighting.watch.pk
            if key not in self._cared_for:
                care = self._carers.submit(self._attend_alone, sighting)
                self._cared_for[key] = (sighting, care)
        cares = list(self._cared_for.values())
        wait([care for _, care in cares], timeout=self._lease.total_seconds() / 2)
        for sighting, care in cares:
            if not care.done():
                continue
            del self._cared_for[sighting.watch.pk]
            if (error := care.exception()) is not None:
                name = sighting.watch.agent.name
                logger.error("agent %s could not be attended to", name, exc_info=error)

    def _attend_alone(self, sighting: Sighting) -> None:
        try:
            # Its turn may have come late.
            if sharing.still_held(self.name, [sighting.watch]):
                attend(sighting)
        finally:
            # The thread may rest for long, and tests drop their database.
            connections.close_all()

    def _prune_at_times(self) -> None:
        """Forget old snapshots, in a thread: there may be many at first."""
        if time.monotonic() - self._pruned_at >= _PRUNE_SECONDS or not self._pruned_at:
            self._pruned_at = time.monotonic()
            self._carers.submit(_prune)

    def _note_round(self, watches: list[Watch], duration_ms: float) -> None:
        Controller.objects.filter(name=self.name).update(agents=len(watches), cycle_ms=duration_ms)


def _prune() -> None:
    try:
        pruned = prune(timezone.now())
    except DatabaseError:
        logger.exception("old snapshots were not pruned")
    else:
        logger.debug("pruned snapshots: %s", pruned)
    finally:
        connections.close_all()
