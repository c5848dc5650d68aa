"""Bounds on what a caller can make the agent hold.

The agent shares memory and file descriptors with a model, and whoever reaches its port
can connect, token or not. uvicorn and its parser take heads of any length, any number
of requests ahead of their answers, and connections on which nothing ever comes.
"""

from asyncio import BaseTransport, TimerHandle

from engine.agent.protocol import JSONHttpProtocol
from engine.contract import ContractError

MAX_CONNECTIONS = 128
"""Most connections to one agent; for one more, the one that is idle for longest goes."""
MAX_HEAD_BYTES = 128 << 10
"""Longest head of a request, twice what the parser takes for a URL. So much is taken
between two parts of a body, too."""
MAX_PIPELINED = 64
"""Most requests that wait on one connection for the answers before theirs."""
REQUEST_SECONDS = 60.0
"""How long a connection may be without a request, and a request without its end."""
ANSWER_SECONDS = 60.0
"""How long a caller may take nothing of an answer."""


class HeadTooLong(ContractError):
    """The head of the request is longer than any that the contract needs."""

    def __init__(self) -> None:
        super().__init__(
            431,
            "Request headers too long",
            f"URL and headers may have {MAX_HEAD_BYTES} bytes together; send fewer headers.",
        )


class TooManyConnections(ContractError):
    """Every connection that the agent keeps is in use."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "Too many connections",
            f"{MAX_CONNECTIONS} calls to this agent are under way; repeat this one when some "
            "have ended.",
        )


class BoundedHttpProtocol(JSONHttpProtocol):
    """One connection, with an end to what it may hold and for how long."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._unread = 0
        """Bytes since the last part of a request that was read whole."""
        self._is_arriving = True
        """The next request, or the rest of the present one, is still to come."""
        self._idle_since = self.loop.time()
        self._overdue: TimerHandle | None = None
        self._unmoved: TimerHandle | None = None
        self._expect_request()
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unread += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unread > MAX_HEAD_BYTES:
            self._refuse_head()
        elif self._is_arriving or self.is_idle:
            self._expect_request()
        else:
            self._stop_expecting()

    @property
    def is_idle(self) -> bool:
        """Whether nothing that came has still to be answered."""
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_arriving = True
        self._stop_expecting()

    def on_headers_complete(self) -> None:
        self._unread = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            # An answer would come before those that are due. Nothing that waits begins.
            self.transport.close()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        self._is_arriving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_caller()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def _make_room(self) -> None:
        idle = [
            other
            for other in self.connections
            if isinstance(other, BoundedHttpProtocol)
            and other is not self
            and other.is_idle
            and not other.transport.is_closing()
        ]
        if idle:
            # What an idle one has still to send, nobody takes.
            min(idle, key=lambda other: other._idle_since).transport.abort()
        else:
            self.refuse(TooManyConnections())

    def _refuse_head(self) -> None:
        if self.is_idle:
            self.refuse(HeadTooLong())
        else:
            # An answer is due to what came before.
            self.transport.close()

    def _expect_request(self) -> None:
        if self._overdue is None:
            self._overdue = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _stop_expecting(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _give_up(self) -> None:
        self._overdue = None
        if self.pipeline or not (self.is_idle or self.cycle.more_body):
            # The caller waits for an answer before it goes on.
            self._expect_request()
        else:
            self.transport.abort()

    def _watch_caller(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._unmoved = self.loop.call_later(ANSWER_SECONDS, self._drop_unless_moved, size)

    def _stop_watching(self) -> None:
        if self._unmoved is not None:
            self._unmoved.cancel()
            self._unmoved = None

    def _drop_unless_moved(self, size: int) -> None:
        if self.transport.get_write_buffer_size() < size:
            self._watch_caller()
        else:
            self.transport.abort()
