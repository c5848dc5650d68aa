"""Threads that step back when the processors are short."""

import contextlib
import os
import sys
import threading


def step_back(niceness: int) -> None:
    """Give this thread, and the threads that torch starts from it, a lower
    priority. Only Linux has priorities by thread."""
    if niceness and sys.platform == "linux":
        # Where a sandbox forbids it, work goes on at the common priority.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
