"""Operations of this process that wait for their next wave.

One thread minds them all: it keeps them for this process, and has each gone on with when
its pause is over, or when somebody has called it off.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection
from datetime import datetime

from django.db import Error, connections
from django.utils import timezone

from controlplane.operations.lease import LEASE, this_process, until
from controlplane.operations.models import Operation, State

logger = logging.getLogger(__name__)
LOOK_S = 0.5
"""How late a cancelled operation is noticed."""
RENEW_S = 2.0


class Pauses:
    """`go_on` is called with each operation whose pause is over, `lose` with each that
    another process has taken over; both in the thread of the pauses, and neither may
    take long."""

    def __init__(
        self, go_on: Callable[[uuid.UUID], None], lose: Callable[[uuid.UUID], None]
    ) -> None:
        self._go_on = go_on
        self._lose = lose
        self._ends: dict[uuid.UUID, datetime] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._renewed_at = 0.0
        self._thread: threading.Thread | None = None

    def add(self, operation_id: uuid.UUID, end: datetime) -> None:
        """Mind the operation, which this process holds, until then."""
        with self._changed:
            self._ends[operation_id] = end
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._mind, name="pauses", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """Go on with none any more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def release(self) -> None:
        """Let another process have those that still wait. After stop()."""
        Operation.objects.filter(
            pk__in=list(self._ends), lease_owner=str(this_process()), state=State.RUNNING
        ).update(lease_until=None)

    def _mind(self) -> None:
        while self._wait():
            try:
                self._look()
            except Error:
                logger.exception("paused operations could not be looked at")
                self._wait_for_the_database()
            finally:
                connections.close_all()

    def _wait_for_the_database(self) -> None:
        with self._changed:
            if not self._closing:
                self._changed.wait(LOOK_S)

    def _wait(self) -> bool:
        """Until it is time to look; whether to look at all."""
        with self._changed:
            while not self._ends and not self._closing:
                self._changed.wait()
            if not self._closing:
                first = (min(self._ends.values()) - timezone.now()).total_seconds()
                self._changed.wait(min(LOOK_S, max(0.0, first)))
            return not self._closing

    def _look(self) -> None:
        with self._changed:
            ends = dict(self._ends)
        if time.monotonic() - self._renewed_at >= RENEW_S:
            _renew(ends)
            self._renewed_at = time.monotonic()
        ours = _still_ours(ends)
        now = timezone.now()
        for operation_id, end in ends.items():
            if operation_id not in ours:
                self._forget(operation_id)
                self._lose(operation_id)
            elif end <= now or ours[operation_id] is not None:
                self._forget(operation_id)
                self._go_on(operation_id)

    def _forget(self, operation_id: uuid.UUID) -> None:
        with self._changed:
            self._ends.pop(operation_id, None)


def _renew(operations: Collection[uuid.UUID]) -> None:
    held = Operation.objects.filter(
        pk__in=operations, lease_owner=str(this_process()), state=State.RUNNING
    )
    held.update(lease_until=until(LEASE))


def _still_ours(operations: Collection[uuid.UUID]) -> dict[uuid.UUID, datetime | None]:
    """Those that this process holds, and when each was called off; None: it was not."""
    held = Operation.objects.filter(
        pk__in=operations, lease_owner=str(this_process()), state=State.RUNNING
    )
    return dict(held.values_list("pk", "cancel_requested_at"))
