"""Threads that step back when the processors are short, and threads that cannot be had."""

import contextlib
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

logger = logging.getLogger(__name__)


def step_back(niceness: int) -> None:
    """Give this thread, and the threads that torch starts from it, a lower
    priority. Only Linux has priorities by thread."""
    if niceness and sys.platform == "linux":
        # Where a sandbox forbids it, work goes on at the common priority.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def start_all(pool: ThreadPoolExecutor, threads: int) -> None:
    """Start all `threads` threads of a new pool now. Later a `submit` that finds none to
    be had would raise and carry the call out all the same, when its caller does not
    expect that any more. Raises RuntimeError if the system gives no thread."""
    everyone = threading.Barrier(threads + 1)
    try:
        for _ in range(threads):
            pool.submit(everyone.wait)
    except RuntimeError:
        everyone.abort()
        raise
    everyone.wait()


def start_if_possible(thread: threading.Thread) -> bool:
    """Start the thread; False if the system gives none."""
    try:
        thread.start()
    except RuntimeError as error:
        logger.warning("Thread %s: %s", thread.name, error)
        return False
    return True
