"""The threads of this process that carry operations out."""

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from functools import cache, partial

from django.db import DatabaseError, connections, transaction

from controlplane.operations import recovery
from controlplane.operations.errors import OperationNotFound
from controlplane.operations.lease import LEASE, is_abandoned, this_process, until
from controlplane.operations.models import Operation, State
from controlplane.operations.planning import actor_of
from controlplane.operations.running import NotOurs, Run, Stopping
from engine.contract import ContractError

logger = logging.getLogger(__name__)
_AT_ONCE = 8
_CALLS_AT_ONCE = 512
_POLL_S = 0.05


class Runner:
    """Carries out operations, several at once, until it is closed."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, "operation")
        # Kept, because starting one takes longer than most calls.
        self._callers = ThreadPoolExecutor(_CALLS_AT_ONCE, "operation-call")
        self._stopping = threading.Event()
        self._running: dict[uuid.UUID, Future[None]] = {}
        self._lock = threading.Lock()

    def start(self, operation: Operation) -> None:
        """Carry it out in a thread, if nobody else does."""
        with self._lock:
            if self._stopping.is_set() or operation.pk in self._running:
                return
            future = self._threads.submit(self._run, operation.pk)
            self._running[operation.pk] = future
        future.add_done_callback(partial(self._forget, operation.pk))

    def wait_for(self, operation_id: uuid.UUID, seconds: float) -> Operation:
        """The operation when it is finished, or as it is after so many seconds. Raises
        OperationNotFound."""
        deadline = time.monotonic() + seconds
        with self._lock:
            future = self._running.get(operation_id)
        if future is not None:
            wait([future], timeout=seconds)
        for operation in _states(operation_id):
            left = deadline - time.monotonic()
            if State(operation.state).is_final or left <= 0:
                return operation
            time.sleep(min(_POLL_S, left))
        raise OperationNotFound(operation_id)

    def close(self) -> None:
        """Begin nothing more; what is under way is left to another process as soon as
        the calls on their way are answered."""
        self._stopping.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._callers.shutdown(wait=True)

    def _forget(self, operation_id: uuid.UUID, run: Future[None]) -> None:
        with self._lock:
            self._running.pop(operation_id, None)
        if not run.cancelled() and (error := run.exception()) is not None:
            logger.error("operation %s broke down", operation_id, exc_info=error)

    def _run(self, operation_id: uuid.UUID) -> None:
        try:
            operation = claim(operation_id)
            if operation is not None:
                self._carry_out(operation)
        except DatabaseError:
            # Its lease runs out and the control loop finds it.
            logger.exception("operation %s broke off", operation_id)
        finally:
            connections.close_all()

    def _carry_out(self, operation: Operation) -> None:
        try:
            Run(operation, self._callers, self._stopping).carry_out()
        except NotOurs:
            logger.warning("operation %s was taken over by another process", operation.pk)
        except Stopping:
            Operation.objects.filter(pk=operation.pk).update(lease_until=None)
        except ContractError as error:
            # The call itself cannot be read back, as after a change of the secret key.
            logger.exception("operation %s cannot be carried out", operation.pk)
            _fail(operation, error)


def claim(operation_id: uuid.UUID) -> Operation | None:
    """Take the operation's lease; None if it is finished or somebody holds it."""
    operation = Operation.objects.filter(
        pk=operation_id, state__in=(State.PENDING, State.RUNNING)
    ).first()
    if operation is None or not is_abandoned(operation.lease_owner, operation.lease_until):
        return None
    # Finding out what agents have can take as long as two calls.
    patience = LEASE + timedelta(seconds=2 * operation.timeout_s)
    taken = Operation.objects.filter(
        pk=operation.pk, lease_owner=operation.lease_owner, lease_until=operation.lease_until
    ).update(lease_owner=str(this_process()), lease_until=until(patience))
    if not taken:
        return None
    operation.refresh_from_db()
    return operation


@cache
def shared_runner() -> Runner:
    """The one runner of this process."""
    return Runner()


def _states(operation_id: uuid.UUID) -> Iterator[Operation]:
    while (found := Operation.objects.filter(pk=operation_id).first()) is not None:
        yield found


def _fail(operation: Operation, error: ContractError) -> None:
    with transaction.atomic():
        for before, after in ((State.PENDING, State.FAILED), (State.RUNNING, State.UNKNOWN)):
            operation.targets.filter(state=before).update(
                state=after, status=error.status, error=error.body()
            )
        recovery.close(operation, actor_of(operation))
