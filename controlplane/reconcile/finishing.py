"""Finishing operations that a process left when it died."""

import logging
import uuid
from concurrent.futures import Future, ThreadPoolExecutor, wait

from django.conf import settings
from django.db import connections

from controlplane.operations import recovery
from controlplane.operations.importing import CONTROLLER
from controlplane.operations.models import Operation
from controlplane.operations.runner import shared_runner

logger = logging.getLogger(__name__)
_AT_ONCE = 8


class Finisher:
    """Takes over what nobody works on any more. Agents that are silent when they are
    asked what came of it hold up its own threads and nobody else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, "finish")
        self._under_way: dict[uuid.UUID, Future[None]] = {}

    def finish_abandoned(self, patience_s: float) -> None:
        """Begin to finish each such operation, and wait so many seconds at most. Raises
        django.db.DatabaseError."""
        for operation in recovery.abandoned():
            if operation.selector:
                # It may have agents that nobody has called yet.
                shared_runner().start(operation)
            elif operation.pk not in self._under_way:
                self._under_way[operation.pk] = self._threads.submit(_finish, operation)
        under_way = dict(self._under_way)
        wait(under_way.values(), timeout=patience_s)
        for operation_id, finishing in under_way.items():
            if not finishing.done():
                continue
            del self._under_way[operation_id]
            if (error := finishing.exception()) is not None:
                logger.error("operation %s was not finished", operation_id, exc_info=error)

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(cancel_futures=True)


def _finish(operation: Operation) -> None:
    try:
        if recovery.take_over(operation):
            recovery.finish(operation, CONTROLLER, timeout=settings.KVPLANE_POLL_TIMEOUT)
    finally:
        connections.close_all()
