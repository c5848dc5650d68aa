"""Threads for the calls that take long, so that the event loop never waits.

Each kind of work has threads of its own: a checksum that runs for a minute must
not keep a store waiting, nor a queue of stores keep an operator's freeze waiting.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import ParamSpec, TypeVar

from engine.contract import ContractError
from engine.threads import start_all, step_back

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Work(StrEnum):
    """What a thread is for."""

    TRANSFER = "transfer"
    """Store and retrieve, bound by memory bandwidth."""
    CHECKSUM = "checksum"
    """Hashing paged KV, on every processor: one check after the other."""
    CHANGE = "change"
    """Short changes: configuration, modes. They are what helps against a store that
    hangs, so nothing that waits for one is among them."""
    WAITING_CHANGE = "waiting-change"
    """Changes that may wait for other machines, such as a clear of a store with millions of
    chunks, and lookups that are made anew."""
    REPORT = "report"
    """Reading more than the event loop has time for."""
    LOOKUP = "lookup"
    """Waiting for what other threads or processes find out."""
    PARSING = "parsing"
    """Reading a request that is too long to be read on the event loop."""


_THREADS = {
    Work.TRANSFER: 2,
    Work.CHECKSUM: 1,
    Work.CHANGE: 2,
    Work.WAITING_CHANGE: 2,
    Work.REPORT: 2,
    Work.LOOKUP: 2,
    Work.PARSING: 1,
}

# What moves or hashes many bytes steps back when the processors are short, so that
# short calls and the engine around the agent go first. Idle processors are used as
# before. The threads that such work starts step back with it. A check, which may be
# of a few slots, does not wait for a gigabyte that is being stored.
_NICENESS = {Work.TRANSFER: 10, Work.CHECKSUM: 5}


class Stopping(ContractError):
    """The agent stops before the work is done."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "Agent is stopping",
            "The agent stopped before this call was done; repeat it once the agent is back.",
        )


class Workers:
    """The worker threads of one agent. `run` and `abandon` are for the event
    loop; the properties may be read from any thread."""

    def __init__(self) -> None:
        self._pools = {
            work: ThreadPoolExecutor(
                threads,
                thread_name_prefix=f"agent-{work}",
                initializer=step_back,
                initargs=(_NICENESS.get(work, 0),),
            )
            for work, threads in _THREADS.items()
        }
        self._abandoned = threading.Event()
        self._jobs: dict[Future[object], asyncio.Future[object]] = {}

    def start(self) -> None:
        """Start every thread now. Starting one on busy processors takes tens of
        milliseconds, in which the event loop would answer nobody."""
        for work, pool in self._pools.items():
            start_all(pool, _THREADS[work])

    @property
    def abandoned(self) -> bool:
        """Whether long work should end early because nobody waits for it."""
        return self._abandoned.is_set()

    @property
    def busy(self) -> bool:
        """Whether a thread is at work, waited for or not."""
        return any(job.running() for job in tuple(self._jobs))

    async def run(
        self, work: Work, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        """Call the function in a thread of that kind. Raises what it raises, and
        Stopping once the agent has been told to stop."""
        if self.abandoned:
            raise Stopping
        outcome: list[_R] = []

        def call() -> object:
            outcome.append(function(*args, **kwargs))
            return None

        job = self._pools[work].submit(call)
        answer = asyncio.wrap_future(job)
        self._jobs[job] = answer
        job.add_done_callback(self._forget)
        try:
            await answer
        except asyncio.CancelledError:
            if self.abandoned:
                raise Stopping from None
            raise
        return outcome[0]

    def abandon(self) -> None:
        """Let every caller of `run` go with Stopping. Work that has not begun
        never does; work that has begun ends by itself."""
        self._abandoned.set()
        for answer in tuple(self._jobs.values()):
            answer.cancel()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _forget(self, job: Future[object]) -> None:
        self._jobs.pop(job, None)
