"""The scheduler's connections to its workers' lookup servers."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from engine.lookup.messages import (
    HASH_BYTES,
    Answer,
    Forget,
    Question,
    Refusal,
    Unreadable,
    decode_at_scheduler,
    encode,
)
from engine.lookup.security import Security
from engine.lookup.wake import Orders

_GRACE_S: Final = 1.0
"""How long a worker may be gone before questions to it end at once. A server that is
made anew is back within a few hundredths of a second."""
_RECONNECT_MS: Final = 5
_RECONNECT_MOST_MS: Final = 500
_SOCKETS_A_WORKER: Final = 4
"""Its own, and three of ZeroMQ that watch it."""
_QUEUED_MESSAGES: Final = 100_000
_WATCHED = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED


class Ending(Enum):
    """How a question to the workers ended."""

    ANSWERED = "answered"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"
    """A worker has been gone for longer than a moment."""
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(eq=False)
class PendingQuestion:
    """One question, asked of every worker of the channel. Ends once."""

    number: int
    request_id: str
    encoded: bytes
    most_chunks: int
    """Chunks that were asked about."""
    waiting_for: set[int]
    deadline: float
    """On the monotonic clock."""
    num_chunks: int = 0
    """The smallest answer, once it is answered."""
    ending: Ending | None = None
    """None while it has not ended."""
    _ended: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> Ending:
        """How it ended. Waits until the deadline at most."""
        self._ended.wait(max(0.0, self.deadline - time.monotonic()))
        return self.ending or Ending.TIMED_OUT

    def ending_now(self) -> Ending | None:
        """How it ended; None while it has not and may still."""
        if self.ending is None and time.monotonic() >= self.deadline:
            return Ending.TIMED_OUT
        return self.ending

    def end(self, ending: Ending) -> None:
        self.ending = ending
        self._ended.set()


class _Worker:
    """The connection to one worker's server. For the polling thread."""

    def __init__(self, rank: int, socket: "zmq.Socket[bytes]") -> None:
        self.rank = rank
        self.socket = socket
        self.monitor = socket.get_monitor_socket(_WATCHED)
        self.is_up = False
        self.down_since = time.monotonic()

    def send(self, encoded: bytes) -> None:
        # To a worker that is not there a question is sent when the connection is, as
        # long as somebody waits for it. (ZMQ_IMMEDIATE would do as much, but drops
        # answers that came in just before a connection ends.)
        if self.is_up:
            with suppress(zmq.Again):
                self.socket.send(encoded, zmq.NOBLOCK)

    def is_gone(self, now: float) -> bool:
        return not self.is_up and now - self.down_since > _GRACE_S


class Channel:
    """Asks all workers at once; the answer is the smallest.

    One thread owns the sockets. A connection that breaks is made again, and what is
    unanswered is asked again: a question changes nothing, so asking twice does no
    harm. Thread-safe.
    """

    def __init__(self, addresses: Mapping[int, str], security: Callable[[str], Security]) -> None:
        """`addresses` are the servers' by worker id; they need not be there yet. Raises
        ZMQError if the system gives no sockets."""
        self._ranks = frozenset(addresses)
        self._numbers = itertools.count(1)
        self._orders = Orders()
        self._questions: dict[int, PendingQuestion] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.max_sockets = _SOCKETS_A_WORKER * (1 + len(addresses))
        self._poller = zmq.Poller()
        self._poller.register(self._orders.fileno(), zmq.POLLIN)
        try:
            self._workers = [
                self._connect(rank, address, security(address))
                for rank, address in addresses.items()
            ]
        except zmq.ZMQError:
            self._context.destroy(linger=0)
            self._orders.close()
            raise
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="lookup-channel", daemon=True)
        self._thread.start()

    def next_number(self) -> int:
        """A number for a question's message."""
        return next(self._numbers)

    def ask(
        self, number: int, request_id: str, message: Question, timeout_s: float
    ) -> PendingQuestion:
        """Send the question to every worker; it ends within `timeout_s`."""
        question = PendingQuestion(
            number,
            request_id,
            encode(message),
            len(message.hashes) // HASH_BYTES,
            set(self._ranks),
            time.monotonic() + timeout_s,
        )
        self._orders.give(lambda: self._begin(question))
        return question

    def tell(self, message: Forget) -> None:
        """Send a message that has no answer to the workers that are there."""
        encoded = encode(message)
        self._orders.give(lambda: self._send_to_all(encoded))

    def close(self) -> None:
        """Let go of thread and sockets; questions end as CLOSED."""
        self._orders.give(self._stop)
        self._thread.join()

    def _connect(self, rank: int, address: str, security: Security) -> _Worker:
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.sndhwm = _QUEUED_MESSAGES
        socket.reconnect_ivl = _RECONNECT_MS
        socket.reconnect_ivl_max = _RECONNECT_MOST_MS
        security.secure_client(socket)
        worker = _Worker(rank, socket)
        socket.connect(address)
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(worker.monitor, zmq.POLLIN)
        return worker

    def _run(self) -> None:
        while not self._closed:
            ready = dict(self._poller.poll(self._patience_ms()))
            if self._orders.fileno() in ready:
                self._orders.obey()
            for worker in self._workers:
                if worker.monitor in ready:
                    self._observe(worker)
                if worker.socket in ready:
                    self._receive(worker)
            self._end_overdue()
        self._let_go()

    def _patience_ms(self) -> int | None:
        """How long nothing need be done if nothing comes."""
        if not self._questions:
            return None
        now = time.monotonic()
        due = min(question.deadline for question in self._questions.values())
        for worker in self._workers:
            if not worker.is_up:
                due = min(due, worker.down_since + _GRACE_S)
        return max(0, int((due - now) * 1000) + 1)

    def _begin(self, question: PendingQuestion) -> None:
        self._questions[question.number] = question
        self._send_to_all(question.encoded)

    def _send_to_all(self, encoded: bytes) -> None:
        for worker in self._workers:
            worker.send(encoded)

    def _observe(self, worker: _Worker) -> None:
        """Take note of connections made and lost."""
        with suppress(zmq.Again):
            while True:
                event = recv_monitor_message(worker.monitor, zmq.NOBLOCK)["event"]
                if event == zmq.Event.DISCONNECTED:
                    worker.is_up = False
                    worker.down_since = time.monotonic()
                else:
                    worker.is_up = True
                    for question in self._questions.values():
                        if worker.rank in question.waiting_for:
                            worker.send(question.encoded)

    def _receive(self, worker: _Worker) -> None:
        with suppress(zmq.Again):
            while True:
                message = worker.socket.recv(zmq.NOBLOCK)
                with suppress(Unreadable):
                    self._take(worker.rank, decode_at_scheduler(message))

    def _take(self, rank: int, message: Answer | Refusal) -> None:
        question = self._questions.get(message.number)
        if question is None or rank not in question.waiting_for:
            return
        # A number that cannot be is no better than none.
        if isinstance(message, Refusal) or not 0 <= message.num_chunks <= question.most_chunks:
            self._end(question, Ending.REFUSED)
            return
        is_first = len(question.waiting_for) == len(self._ranks)
        fewest = message.num_chunks if is_first else min(question.num_chunks, message.num_chunks)
        question.num_chunks = fewest
        question.waiting_for.discard(rank)
        if not question.waiting_for:
            self._end(question, Ending.ANSWERED)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        gone = {worker.rank for worker in self._workers if worker.is_gone(now)}
        for question in list(self._questions.values()):
            if now >= question.deadline:
                self._end(question, Ending.TIMED_OUT)
            elif gone and not gone.isdisjoint(question.waiting_for):
                self._end(question, Ending.UNREACHABLE)

    def _end(self, question: PendingQuestion, ending: Ending) -> None:
        del self._questions[question.number]
        question.end(ending)

    def _stop(self) -> None:
        self._closed = True

    def _let_go(self) -> None:
        for question in list(self._questions.values()):
            self._end(question, Ending.CLOSED)
        for worker in self._workers:
            worker.socket.disable_monitor()
            worker.monitor.close(linger=0)
            worker.socket.close(linger=0)
        self._context.term()
        self._orders.close()
