"""Django's WSGI handler as an ASGI application, on a pool of threads.

Every request crosses to a thread once and back once: the body is read before,
the answer collected whole. Nothing that is served here is a stream, and each
further crossing costs more than most answers take to make.

PEP 3333 says what a WSGI environment holds.
"""

import io
import string
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from functools import partial
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

_WITHOUT_PREFIX = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class Disconnected(Exception):
    """The client left before its request was complete."""


@dataclass
class Answer:
    """A WSGI application's answer, collected."""

    status: int = 500
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


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
        self._threads = AnswerThreads(threads, partial(call, app), _BROKEN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await _read_body(receive)
        except Disconnected:
            return
        answer = await self._threads.ask(make_environ(scope, body))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": answer.headers,
            }
        )
        await send({"type": "http.response.body", "body": answer.body})


def call(app: WSGIApp, environ: Environ) -> Answer:
    """Call the application and collect its answer."""
    answer = Answer()

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> None:
        answer.status = int(status[:3])
        answer.headers = tuple(
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        )

    parts = app(environ, start_response)
    try:
        answer.body = b"".join(parts)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    return answer


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
