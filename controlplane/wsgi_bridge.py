"""Making any HTTP request fit for WSGI."""

import string
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote_from_bytes

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Above what any view reads: a longer body is cut here and refused there.
_MAX_BUFFERED = 4 << 20


def fit_for_wsgi(app: App) -> App:
    """`app`, shielded from what WSGI cannot express: bytes beyond ASCII in the
    query string get escaped, and a body of unknown length is read first."""

    async def fitted(scope: Scope, receive: Receive, send: Send) -> None:
        query: bytes = scope["query_string"]
        if not query.isascii():
            escaped = quote_from_bytes(query, safe=string.printable)
            scope = {**scope, "query_string": escaped.encode("ascii")}
        names = {name for name, _ in scope["headers"]}
        if b"transfer-encoding" in names and b"content-length" not in names:
            scope, receive = await _with_length(scope, receive)
        await app(scope, receive, send)

    return fitted


async def _with_length(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    body = bytearray()
    more = True
    while more and len(body) <= _MAX_BUFFERED:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    length = (b"content-length", str(len(body)).encode("ascii"))
    pending = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return {**scope, "headers": [*scope["headers"], length]}, replay
