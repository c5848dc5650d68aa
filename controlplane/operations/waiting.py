"""Starting an operation inside of a request, and waiting a while for its end."""

from threading import BoundedSemaphore

from django.conf import settings

from controlplane.operations.models import Operation
from controlplane.operations.runner import shared_runner

# A request that waits holds a thread that others need.
_waiting = BoundedSemaphore(max(1, settings.KVPLANE_HTTP_THREADS // 2))


def start_and_wait(operation: Operation, seconds: float) -> Operation:
    """Carry the operation out in another thread; as it is when it is finished, or after
    so many seconds, or at once when half of the server's threads wait already."""
    runner = shared_runner()
    runner.start(operation)
    if not _waiting.acquire(blocking=False):
        return runner.wait_for(operation.pk, 0)
    try:
        return runner.wait_for(operation.pk, seconds)
    finally:
        _waiting.release()
