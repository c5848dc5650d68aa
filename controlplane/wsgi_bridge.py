"""Django's WSGI handler as an ASGI application, on a pool of threads.

A request crosses to a thread once and back once: the body is read before, the
answer collected whole. Each further crossing costs more than most answers take to
make, so only what calls itself a stream, as Django's StreamingHttpResponse does, is
made piece by piece, and what of it fits into one piece crosses once as well.

PEP 3333 says what a WSGI environment holds.
"""

import asyncio
import io
import string
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import quote_from_bytes

from controlplane.answer_threads import AnswerThreads

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Environ = dict[str, Any]
WSGIApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

# Above what any view reads: a longer body is cut here and refused there.
MAX_BUFFERED = 4 << 20

# A piece of a stream is sent when it has as much, or took as long to make.
PIECE_BYTES = 64 << 10
PIECE_S = 0.05

_WITHOUT_PREFIX = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class Disconnected(Exception):
    """The client left before its request was complete."""


class StreamBroken(Exception):
    """The rest of an answer could not be made; the log has the details."""


class Stream:
    """An answer that is made piece by piece, each by whichever thread is asked for it:
    what makes it must hold nothing that belongs to a thread from part to part, such as
    a cursor of its database connection."""

    closed = False

    def __init__(self, answer: Iterable[bytes]) -> None:
        # iter() may fail, and more() closes then.
        self._parts = chain(answer)
        self._close_answer: Callable[[], None] = getattr(answer, "close", _nothing)
        self._lock = Lock()

    def more(self) -> bytes:
        """The next piece; nothing once it is closed, which it is after the last one.
        Raises whatever the application raises, and is closed then too."""
        with self._lock, ExitStack() as at_its_end:
            if self.closed:
                return b""
            at_its_end.callback(self._close)
            parts: list[bytes] = []
            size, until = 0, monotonic() + PIECE_S
            for part in self._parts:
                parts.append(part)
                size += len(part)
                if size >= PIECE_BYTES or monotonic() >= until:
                    at_its_end.pop_all()
                    break
            return b"".join(parts)

    def close(self) -> None:
        """Make no more of it. Waits for a piece that is being made. Raises whatever the
        application raises."""
        with self._lock:
            if not self.closed:
                self._close()

    def _close(self) -> None:
        self.closed = True
        self._close_answer()


@dataclass
class Answer:
    """A WSGI application's answer: collected, or the begin of a stream."""

    status: int = 500
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    stream: Stream | None = None
    """What makes the rest."""


_BROKEN = Answer(
    500,
    ((b"content-type", b"application/json"),),
    b'{"error": "Internal server error", "message": "The control plane failed; its log has the '
    b'details."}',
)


class WSGIBridge:
    """Serves HTTP scopes with `app` on at most `threads` threads, which keep
    their database connections from request to request."""

    def __init__(self, app: WSGIApp, threads: int) -> None:
        self._app = app
        self._threads = AnswerThreads(threads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises StreamBroken when a stream does, so that the server
        breaks off: an end would make what was sent look complete."""
        try:
            body = await _read_body(receive)
        except Disconnected:
            return
        environ = make_environ(scope, body)
        answer = await self._threads.ask(partial(call, self._app, environ)) or _BROKEN
        if answer.stream is not None:
            await self._send_stream(answer, answer.stream, receive, send)
            return
        await send(_start_of(answer))
        await send({"type": "http.response.body", "body": answer.body})

    async def _send_stream(
        self, answer: Answer, stream: Stream, receive: Receive, send: Send
    ) -> None:
        left = asyncio.ensure_future(_leave(receive))
        try:
            # What a server may raise when the client left.
            with suppress(OSError):
                await send(_start_of(answer))
                await self._send_pieces(answer.body, stream, left, send)
        finally:
            left.cancel()
            if not stream.closed:
                # Nobody waits for it: this may be a task that is being cancelled.
                self._threads.ask(stream.close)

    async def _send_pieces(
        self, first: bytes, stream: Stream, left: "asyncio.Future[None]", send: Send
    ) -> None:
        """Send the pieces. The next one is asked for when the server took the last one, so
        a slow client holds no thread, and streams take turns with everything else."""
        piece: bytes | None = first
        while not left.done():
            if piece is None:
                raise StreamBroken
            ended = stream.closed
            await send({"type": "http.response.body", "body": piece, "more_body": not ended})
            if ended:
                return
            piece = await self._threads.ask(stream.more)


def call(app: WSGIApp, environ: Environ) -> Answer:
    """Call the application and collect its answer, or the first piece of a stream.
    Raises whatever the application raises."""
    answer = Answer()

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> None:
        answer.status = int(status[:3])
        answer.headers = tuple(
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        )

    parts = app(environ, start_response)
    if getattr(parts, "streaming", False):
        _begin_stream(answer, Stream(parts), environ["REQUEST_METHOD"])
        return answer
    try:
        answer.body = b"".join(parts)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    return answer


def _begin_stream(answer: Answer, stream: Stream, method: str) -> None:
    if method == "HEAD":
        stream.close()
        return
    answer.body = stream.more()
    if not stream.closed:
        answer.stream = stream


def _nothing() -> None:
    """What closes an answer that need not be closed."""


def _start_of(answer: Answer) -> Message:
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": answer.headers,
    }


async def _leave(receive: Receive) -> None:
    """Return when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


def make_environ(scope: Scope, body: bytes) -> Environ:
    """The WSGI environment of an HTTP scope whose body is read."""
    server_name, server_port = scope.get("server") or ("localhost", 80)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        # WSGI carries bytes as Latin-1.
        "PATH_INFO": scope["path"].encode("utf-8").decode("latin-1"),
        "QUERY_STRING": _ascii_query(scope["query_string"]),
        "SERVER_NAME": server_name,
        "SERVER_PORT": str(server_port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("",))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        # X_KVPlane_Agent would become the same variable as X-KVPlane-Agent, past
        # any proxy that sets or strips the latter.
        if b"_" in name:
            continue
        variable = _WITHOUT_PREFIX.get(name) or _variable(name)
        text = value.decode("latin-1")
        if variable in environ:
            separator = "; " if name == b"cookie" else ","
            text = f"{environ[variable]}{separator}{text}"
        environ[variable] = text
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def _variable(header: bytes) -> str:
    return "HTTP_" + header.decode("latin-1").upper().replace("-", "_")


def _ascii_query(query: bytes) -> str:
    """The query string with bytes beyond ASCII escaped, as they should have come."""
    if not query.isascii():
        query = quote_from_bytes(query, safe=string.printable).encode("ascii")
    return query.decode("ascii")


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return bytes(message.get("body", b""))
    parts = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        if len(parts) <= MAX_BUFFERED:
            parts += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()
