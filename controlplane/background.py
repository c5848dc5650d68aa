"""Work that may take longer than whoever asked for it can wait."""

import contextvars
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from django.db import connections

logger = logging.getLogger(__name__)


def run_and_wait(name: str, work: Callable[[], None], seconds: float) -> bool:
    """Do it in a thread of its own; whether it was done after so many seconds. It goes on
    in any case, and the process does not end before it. What it puts on record counts as
    put there by the present request; what it raises is logged."""
    thread = ThreadPoolExecutor(1, name)
    future = thread.submit(contextvars.copy_context().run, _run, work)
    thread.shutdown(wait=False)
    future.add_done_callback(partial(_log_failure, name))
    return bool(wait([future], timeout=seconds).done)


def _run(work: Callable[[], None]) -> None:
    try:
        work()
    finally:
        connections.close_all()


def _log_failure(name: str, future: "Future[None]") -> None:
    if (error := future.exception()) is not None:
        logger.error("%s broke down", name, exc_info=error)
