"""A worker's lookup server."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import zmq

from engine.lookup.client import Prompt
from engine.lookup.index import ChunkIndex
from engine.lookup.listener import Listener
from engine.lookup.messages import (
    Answer,
    Count,
    Load,
    Refusal,
    ToScheduler,
    Unreadable,
    decode_at_worker,
    encode,
)
from engine.lookup.tally import Event, LookupTally
from engine.lookup.wake import Orders

logger = logging.getLogger(__name__)
_COUNTING_THREADS: Final = 4
_LOADING_THREADS: Final = 4
_CLOSE_S: Final = 1.0
"""How long a close waits for answers that are being found."""


class LookupServer:
    """Answers how much of a prompt this worker has cached. One thread owns the socket,
    others look, so that a tier that is slow holds up only who asked for it."""

    name = "LMCacheLookupServer"

    def __init__(
        self, listener: Listener, index: ChunkIndex, root: bytes, tally: LookupTally
    ) -> None:
        """The server closes the listener. `root` is the root of this worker's chunk
        hashes; whoever asks with another one is refused."""
        self._listener = listener
        self._index = index
        self._root = root
        self._tally = tally
        self._counting = ThreadPoolExecutor(_COUNTING_THREADS, "lookup-count")
        self._loading = ThreadPoolExecutor(_LOADING_THREADS, "lookup-load")
        self._orders = Orders()
        self._unanswered = 0
        self._closing_until: float | None = None
        """None while it is open; then the moment at which it ends at the latest."""
        self._thread = threading.Thread(target=self._run, name="lookup-server", daemon=True)
        self._thread.start()

    def describe(self) -> str:
        """The name that `/lookup/info` shows."""
        return self.name

    def close(self) -> None:
        """Take no more questions, answer those that were taken, and let go. What is not
        answered within a second never is: who asks will ask the next server."""
        self._orders.give(self._begin_to_close)
        self._thread.join()

    def _load(self, prompt: Prompt, go_on: Callable[[], bool]) -> int:
        """A server that does not load says what is cached."""
        return self._index.count(prompt)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._orders.fileno(), zmq.POLLIN)
        poller.register(self._listener.socket, zmq.POLLIN)
        while self._closing_until is None:
            ready = dict(poller.poll())
            if self._orders.fileno() in ready:
                self._orders.obey()
            if self._listener.socket in ready:
                self._receive()
        poller.unregister(self._listener.socket)
        while self._unanswered and time.monotonic() < self._closing_until:
            poller.poll(max(1, int((self._closing_until - time.monotonic()) * 1000)))
            self._orders.obey()
        for threads in (self._counting, self._loading):
            threads.shutdown(wait=False, cancel_futures=True)
        self._listener.close()
        self._orders.close()

    def _begin_to_close(self) -> None:
        self._closing_until = time.monotonic() + _CLOSE_S

    def _receive(self) -> None:
        with suppress(zmq.Again):
            while True:
                sender, *frames = self._listener.socket.recv_multipart(zmq.NOBLOCK)
                self._take(sender, frames)

    def _take(self, sender: bytes, frames: list[bytes]) -> None:
        try:
            message = decode_at_worker(b"".join(frames))
            if not isinstance(message, Count | Load):
                self._index.forget(message.request_id)
                return
            if message.root != self._root:
                refusal = Refusal(message.number, "other model or chunk size")
                self._send(sender, refusal)
                self._tally.add(Event.SERVED_FAULTS)
                return
            prompt = message.prompt()
        except (Unreadable, ValueError):
            self._tally.add(Event.SERVED_FAULTS)
            return
        self._unanswered += 1
        threads = self._loading if isinstance(message, Load) else self._counting
        threads.submit(self._answer, sender, message, prompt)

    def _answer(self, sender: bytes, message: Count | Load, prompt: Prompt) -> None:
        num_chunks = 0
        try:
            num_chunks = self._find(message, prompt)
        except Exception:
            # The scheduler waits for an answer, and the thread is not this request's alone.
            logger.exception("A lookup failed")
            self._tally.add(Event.SERVED_FAULTS)
        answer = Answer(message.number, num_chunks)
        self._orders.give(lambda: self._finish(sender, answer))

    def _find(self, message: Count | Load, prompt: Prompt) -> int:
        if isinstance(message, Load):
            until = time.monotonic() + message.patience_ms / 1000
            num_chunks = self._load(prompt, lambda: time.monotonic() < until)
        else:
            num_chunks = self._index.count(prompt)
        self._tally.add(Event.SERVED)
        self._tally.add(Event.SERVED_CHUNKS, len(prompt.hashes))
        self._tally.add(Event.SERVED_HIT_CHUNKS, num_chunks)
        return num_chunks

    def _finish(self, sender: bytes, answer: Answer) -> None:
        self._unanswered -= 1
        self._send(sender, answer)

    def _send(self, sender: bytes, message: ToScheduler) -> None:
        # A scheduler that has gone needs no answer.
        with suppress(zmq.ZMQError):
            self._listener.socket.send_multipart([sender, encode(message)], zmq.NOBLOCK)


class AsyncLookupServer(LookupServer):
    """A server that brings chunks of slower tiers into memory when it is asked to."""

    name = "LMCacheAsyncLookupServer"

    def _load(self, prompt: Prompt, go_on: Callable[[], bool]) -> int:
        return self._index.load(prompt, go_on)
