"""A lookup client that asks nobody over a socket."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from engine.lookup.client import Pending, Prompt
from engine.lookup.index import ChunkIndex
from engine.lookup.tally import Event, LookupTally

_THREADS_AN_INDEX = 2


class BypassLookupClient:
    """Asks what holds the chunks: the engines of this process, or the store that all
    workers share."""

    name = "LMCacheBypassLookupClient"

    def __init__(
        self,
        indexes: Sequence[ChunkIndex],
        close: Callable[[], None],
        timeout_ms: Callable[[], int],
        tally: LookupTally,
    ) -> None:
        """`indexes` are one for each worker that is asked; `close` lets go of what was
        opened for them."""
        self._indexes = indexes
        self._close = close
        self._timeout_ms = timeout_ms
        self._tally = tally
        # A tier may hang; the caller must not.
        self._threads = ThreadPoolExecutor(
            _THREADS_AN_INDEX * len(indexes), thread_name_prefix="lookup-bypass"
        )

    def lookup(self, prompt: Prompt) -> int | Pending:
        counts = [self._threads.submit(index.count, prompt) for index in self._indexes]
        _, late = wait(counts, self._timeout_ms() / 1000)
        if late:
            for count in late:
                count.cancel()
            self._tally.add(Event.TIMEOUTS)
            self.forget(prompt.request_id)
            return 0
        return prompt.tokens_of(min(count.result() for count in counts))

    def forget(self, request_id: str) -> None:
        for index in self._indexes:
            index.forget(request_id)

    def describe(self) -> str:
        return self.name

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._close()
