"""The threads of this process that carry operations out."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import cache, partial

from django.db import DatabaseError, connections, transaction

from controlplane.configuration import services as configuration
from controlplane.operations import recovery
from controlplane.operations.effects import find_begun
from controlplane.operations.errors import OperationBrokeDown, OperationNotFound
from controlplane.operations.lease import LEASE, is_abandoned, this_process, until
from controlplane.operations.models import Operation, State
from controlplane.operations.pausing import Pauses
from controlplane.operations.planning import actor_of
from controlplane.operations.running import NotOurs, Paused, Run, Stopping
from engine.contract import ContractError

logger = logging.getLogger(__name__)
_AT_ONCE = 8
_CALLS_AT_ONCE = 512
_POLL_S = 0.05
_UNFINISHED = (State.PENDING, State.RUNNING)


class Runner:
    """Carries out operations, several at once, until it is closed. One that pauses holds
    no thread."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, "operation")
        # Kept, because starting one takes longer than most calls.
        self._callers = ThreadPoolExecutor(_CALLS_AT_ONCE, "operation-call")
        self._stopping = threading.Event()
        self._pauses = Pauses(self._go_on, self._forget)
        self._ends: dict[uuid.UUID, threading.Event] = {}
        """Of each operation that this process holds: set when it does not any more."""
        self._lock = threading.Lock()

    def start(self, operation: Operation) -> None:
        """Carry it out in a thread, if nobody else does."""
        with self._lock:
            if self._stopping.is_set() or operation.pk in self._ends:
                return
            self._ends[operation.pk] = threading.Event()
            run = self._threads.submit(self._run, operation.pk, claim)
        run.add_done_callback(partial(self._note_breakdown, operation.pk))

    def wait_for(self, operation_id: uuid.UUID, seconds: float) -> Operation:
        """The operation when it is finished, or as it is after so many seconds. Raises
        OperationNotFound."""
        deadline = time.monotonic() + seconds
        with self._lock:
            end = self._ends.get(operation_id)
        if end is not None:
            end.wait(seconds)
        for operation in _states(operation_id):
            left = deadline - time.monotonic()
            if State(operation.state).is_final or left <= 0:
                return operation
            time.sleep(min(_POLL_S, left))
        raise OperationNotFound(operation_id)

    def close(self) -> None:
        """Begin nothing more; what is under way is left to another process as soon as
        the calls on their way are answered."""
        with self._lock:
            self._stopping.set()
        self._pauses.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._callers.shutdown(wait=True)
        try:
            self._pauses.release()
        except DatabaseError:
            logger.warning("the leases of paused operations stay until they run out")

    def _go_on(self, operation_id: uuid.UUID) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            run = self._threads.submit(self._run, operation_id, reclaim)
        run.add_done_callback(partial(self._note_breakdown, operation_id))

    def _forget(self, operation_id: uuid.UUID) -> None:
        with self._lock:
            end = self._ends.pop(operation_id, None)
        if end is not None:
            end.set()

    def _note_breakdown(self, operation_id: uuid.UUID, run: Future[None]) -> None:
        if run.cancelled():
            self._forget(operation_id)
        elif (error := run.exception()) is not None:
            logger.error("operation %s broke down", operation_id, exc_info=error)
            _fail_alone(operation_id)
            self._forget(operation_id)

    def _run(self, operation_id: uuid.UUID, take: Callable[[uuid.UUID], Operation | None]) -> None:
        try:
            operation = take(operation_id)
            if operation is not None:
                self._carry_out(operation)
        except Paused as pause:
            self._pauses.add(operation_id, pause.end)
            return
        except DatabaseError:
            # Its lease runs out and the control loop finds it.
            logger.exception("operation %s broke off", operation_id)
        finally:
            connections.close_all()
        self._forget(operation_id)

    def _carry_out(self, operation: Operation) -> None:
        try:
            Run(operation, self._callers, self._stopping).carry_out()
        except NotOurs:
            logger.warning("operation %s was taken over by another process", operation.pk)
        except Stopping:
            held = Operation.objects.filter(pk=operation.pk, lease_owner=str(this_process()))
            held.update(lease_until=None)
        except ContractError as error:
            # The call itself cannot be read back, as after a change of the secret key.
            logger.exception("operation %s cannot be carried out", operation.pk)
            _fail(operation.pk, error)


def claim(operation_id: uuid.UUID) -> Operation | None:
    """Take the operation's lease; None if it is finished or somebody holds it."""
    operation = Operation.objects.filter(pk=operation_id, state__in=_UNFINISHED).first()
    if operation is None or not is_abandoned(operation.lease_owner, operation.lease_until):
        return None
    taken = Operation.objects.filter(
        pk=operation.pk, lease_owner=operation.lease_owner, lease_until=operation.lease_until
    ).update(lease_owner=str(this_process()), lease_until=until(_patience_for(operation)))
    if not taken:
        return None
    operation.refresh_from_db()
    return operation


def reclaim(operation_id: uuid.UUID) -> Operation | None:
    """Go on with an operation that this process holds while it pauses; None if another
    has taken it over, or it is finished."""
    held = Operation.objects.filter(
        pk=operation_id, state=State.RUNNING, lease_owner=str(this_process())
    )
    operation = held.first()
    if operation is None or not held.update(lease_until=until(_patience_for(operation))):
        return None
    return operation


def _patience_for(operation: Operation) -> timedelta:
    """Finding out what agents have can take as long as two calls."""
    return LEASE + timedelta(seconds=2 * operation.timeout_s)


@cache
def shared_runner() -> Runner:
    """The one runner of this process."""
    return Runner()


def _states(operation_id: uuid.UUID) -> Iterator[Operation]:
    while (found := Operation.objects.filter(pk=operation_id).first()) is not None:
        yield found


def _fail_alone(operation_id: uuid.UUID) -> None:
    """End an operation that broke down. Another process would meet the same bug."""
    try:
        _fail(operation_id, OperationBrokeDown(operation_id))
    except DatabaseError:
        logger.exception("operation %s broke off", operation_id)
    finally:
        connections.close_all()


def _fail(operation_id: uuid.UUID, error: ContractError) -> None:
    """End an operation that this process holds: agents that were not called will not be,
    and of those that were, the control loop finds out what they did."""
    with transaction.atomic(durable=True):
        held = Operation.objects.select_for_update().filter(
            pk=operation_id, lease_owner=str(this_process()), state__in=_UNFINISHED
        )
        operation = held.first()
        if operation is None:
            return
        called = list(operation.targets.filter(state=State.RUNNING))
        configuration.lock([row.agent for row in called])
        for row in called:
            begun = find_begun(operation.pk, row.agent)
            recovery.settle(row, begun, State.UNKNOWN, error.body())
        operation.targets.filter(state=State.PENDING).update(
            state=State.FAILED, status=error.status, error=error.body()
        )
        recovery.close(operation, actor_of(operation))
