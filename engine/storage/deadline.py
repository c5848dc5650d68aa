"""Calls that their caller waits for only so long."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from engine.storage.connectors import ConnectorError, ConnectorTimeout

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class DeadlineThreads:
    """A few threads in which connectors are called. A call whose caller has given up
    goes on, because nothing can stop it, and nobody sees what it returns; one that
    has not begun then never begins.

    The threads are daemons and are not waited for: a call on a hung mount must not
    keep the process from ending.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._waiting: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads = threads
        self._closed = False
        for index in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{index}", daemon=True).start()

    def call(self, function: Callable[[], Answer], deadline: float) -> Answer:
        """What `function` returns. Raises ConnectorTimeout at `deadline`, a moment of
        time.monotonic, and ConnectorError for whatever `function` raises."""
        future = self.start(function)
        try:
            return future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise ConnectorTimeout("no answer in time") from None

    def start(self, function: Callable[[], Answer]) -> "Future[Answer]":
        """Call `function` without waiting. Raises ConnectorError after `close`."""
        if self._closed:
            raise ConnectorError("the backend is closed")
        future: Future[Answer] = Future()
        self._waiting.put((function, future))
        return future

    def close(self) -> None:
        """Let the threads end after what was started."""
        self._closed = True
        for _ in range(self._threads):
            self._waiting.put(None)

    def _run(self) -> None:
        while True:
            call = self._waiting.get()
            if call is None:
                return
            function, future = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except ConnectorError as error:
                future.set_exception(error)
            except Exception as error:
                # A connector may be anybody's; what it raises must not reach a request.
                logger.exception("A connector raised what connectors do not raise")
                future.set_exception(ConnectorError(repr(error)))
            # Until the next call comes, nothing keeps megabytes of the last alive.
            del call, function, future


_Call = tuple[Callable[[], Any], "Future[Any]"]
