"""Threads that make answers for an event loop.

ThreadPoolExecutor does the same through a second future with locks and callbacks
of its own, which take 30 µs of CPU time a call, and hands calls out in turn. Here
the thread that became idle last is the next one to work: its database connection
and its memory are warm, those of the others may stay cold.
"""

import asyncio
import atexit
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

logger = logging.getLogger(__name__)
AnswerT = TypeVar("AnswerT")
Work = Callable[[], None]


class AnswerThreads:
    """At most `count` threads that do what they are asked for in the order in which
    they are asked, started when they are needed and stopped with the process, after
    what they are at."""

    def __init__(self, count: int) -> None:
        self._lock = Lock()
        self._idle = [_Worker(f"http_{number}") for number in reversed(range(count))]
        self._backlog: deque[Callable[[_Worker], None]] = deque()

    def ask(self, question: Callable[[], AnswerT]) -> "asyncio.Future[AnswerT | None]":
        """What `question` returns, for the event loop that runs in the caller's thread.
        When it raises something, that is logged and None is the answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[AnswerT | None] = loop.create_future()
        work = partial(self._work, question, loop, future)
        with self._lock:
            if not self._idle:
                self._backlog.append(work)
                return future
            worker = self._idle.pop()
        worker.give(partial(work, worker))
        return future

    def _work(
        self,
        question: Callable[[], AnswerT],
        loop: asyncio.AbstractEventLoop,
        future: "asyncio.Future[AnswerT | None]",
        worker: "_Worker",
    ) -> None:
        answer = None
        try:
            answer = question()
        except (Exception, SystemExit):
            # The event loop waits for an answer, and the thread is not this request's alone.
            logger.exception("a request could not be answered")
        finally:
            # First, so that whoever asks again at once finds the same thread.
            self._go_on(worker)
            # A loop that is closed waits for nothing.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, answer)

    def _go_on(self, worker: "_Worker") -> None:
        with self._lock:
            if not self._backlog:
                self._idle.append(worker)
                return
            work = self._backlog.popleft()
        worker.give(partial(work, worker))


class _Worker:
    """One thread and what it is to do."""

    def __init__(self, name: str) -> None:
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._given: SimpleQueue[Work] = SimpleQueue()

    def give(self, work: Work) -> None:
        if not self._thread.is_alive():
            self._thread.start()
            # The interpreter waits for threads that are not daemons before it
            # gets to telling them to stop.
            atexit.register(self._stop)
        self._given.put(work)

    def _stop(self) -> None:
        self._given.put(_stop_here)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._given.get()) is not _stop_here:
            work()
            # An idle thread holds on to no request.
            del work


def _stop_here() -> None:
    """What tells a thread to stop."""


def _settle(future: "asyncio.Future[AnswerT | None]", answer: AnswerT | None) -> None:
    # Cancelled when the server stops without waiting.
    if not future.done():
        future.set_result(answer)
