"""Whether this process answers."""

from controlplane.wsgi_bridge import App, Receive, Scope, Send

PATHS = frozenset({"/health", "/health/"})
_BODY = b'{"status": "ok"}'


def with_health(app: App) -> App:
    """`app`, with `GET /health` answered before it: on the event loop, so that
    busy threads do not look like a dead process, and whatever the `Host`, which
    a probe does not know. No login, no database, no secret."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in PATHS or scope["method"] not in ("GET", "HEAD"):
            await app(scope, receive, send)
            return
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(_BODY)).encode("ascii")),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else _BODY
        await send({"type": "http.response.body", "body": body})

    return answer
