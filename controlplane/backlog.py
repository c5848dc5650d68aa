"""Work that is done after whoever asked for it was answered, one piece after the other."""

import atexit
import contextvars
import logging
from collections.abc import Callable
from functools import partial
from queue import Empty, Full, Queue
from threading import Lock, Thread

from django.db import connections

logger = logging.getLogger(__name__)
Work = Callable[[], None]


class Backlog:
    """At most `most` pieces that wait for one thread; what comes above that is dropped, and
    counted in the log. The process ends without what still waits then, and waits up to
    `stop_s` seconds for what the thread is at."""

    def __init__(self, name: str, *, most: int, stop_s: float) -> None:
        self._name = name
        self._stop_s = stop_s
        self._waiting: Queue[Work] = Queue(most)
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._lock = Lock()
        self._dropped = 0

    def add(self, work: Work) -> bool:
        """Have it done; whether it will be. What it puts on record counts as put there by
        the present request; what it raises is logged."""
        with self._lock:
            if self._thread.ident is None:
                self._thread.start()
                # The interpreter waits for threads that are not daemons before it gets to
                # telling them to stop.
                atexit.register(self._stop)
            try:
                self._waiting.put_nowait(partial(contextvars.copy_context().run, work))
            except Full:
                self._dropped += 1
                return False
        return True

    def _run(self) -> None:
        while (work := self._waiting.get()) is not _stop_here:
            try:
                work()
            except Exception:
                # The thread is not this piece's alone.
                logger.exception("%s broke down", self._name)
            finally:
                connections.close_all()
            del work
            self._tell_dropped()

    def _stop(self) -> None:
        with self._lock:
            self._dropped += self._take_all()
            self._waiting.put_nowait(_stop_here)
        self._thread.join(self._stop_s)
        self._tell_dropped()

    def _take_all(self) -> int:
        count = 0
        try:
            while True:
                self._waiting.get_nowait()
                count += 1
        except Empty:
            return count

    def _tell_dropped(self) -> None:
        with self._lock:
            count, self._dropped = self._dropped, 0
        if count:
            logger.error("%s: %d were dropped, as too many waited", self._name, count)


def _stop_here() -> None:
    """What tells the thread to stop."""
