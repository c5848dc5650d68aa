"""Django behind ASGI: what reaches it, and what comes back."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from controlplane.wsgi_bridge import MAX_BUFFERED, WSGIBridge, make_environ


def scope(**changes: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/conf",
        "query_string": b"names=a",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50_000),
        **changes,
    }


class Recorder:
    """A WSGI application that keeps what it got."""

    def __init__(self, parts: Iterable[bytes] = (b"a", b"b")) -> None:
        self.environ: dict[str, Any] = {}
        self.body = b""
        self.closed = False
        self._parts = parts

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> "Recorder":
        self.environ = environ
        self.body = environ["wsgi.input"].read()
        start("201 Created", [("X-One", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return self

    def __iter__(self):
        return iter(self._parts)

    def close(self) -> None:
        self.closed = True


def exchange(app: Any, request: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(WSGIBridge(app, 1)(request, receive, send))
    return sent


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_bridge__body_in_parts_without_length__arrives_whole_with_its_length() -> None:
    app = Recorder()
    exchange(app, scope(), part(b'{"a"', more=True), part(b": 1}"))
    assert app.body == b'{"a": 1}'
    assert app.environ["CONTENT_LENGTH"] == "8"


def test_bridge__endless_body__is_cut_above_what_any_view_reads() -> None:
    app = Recorder()
    pieces = [part(b"x" * (1 << 20), more=True) for _ in range(20)]
    exchange(app, scope(), *pieces, part(b""))
    assert MAX_BUFFERED < len(app.body) <= MAX_BUFFERED + (1 << 20)


def test_bridge__client_leaves_before_its_body_is_complete__application_is_not_called() -> None:
    app = Recorder()
    assert exchange(app, scope(), part(b"{", more=True), {"type": "http.disconnect"}) == []
    assert app.environ == {}


def test_bridge__answer__comes_whole_with_repeated_headers_and_is_closed() -> None:
    app = Recorder()
    start, body = exchange(app, scope(), part(b""))
    assert start["status"] == 201
    assert [value for name, value in start["headers"] if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert body["body"] == b"ab"
    assert app.closed


@pytest.mark.parametrize(
    ("query", "seen"), [(b"names=\xc3\xa9", "names=%C3%A9"), (b"a=%20b&c=+", "a=%20b&c=+")]
)
def test_environ__query__is_ascii(query: bytes, seen: str) -> None:
    assert make_environ(scope(query_string=query), b"")["QUERY_STRING"] == seen


def test_environ__path_beyond_ascii__carries_its_bytes_as_latin_1() -> None:
    environ = make_environ(scope(path="/agents/é/conf"), b"")
    assert environ["PATH_INFO"].encode("latin-1").decode("utf-8") == "/agents/é/conf"


def test_environ__header_with_an_underscore__does_not_pass_for_the_real_one() -> None:
    headers = [(b"x_kvplane_agent", b"spoofed"), (b"x-kvplane-reason", b"real")]
    environ = make_environ(scope(headers=headers), b"")
    assert "HTTP_X_KVPLANE_AGENT" not in environ
    assert environ["HTTP_X_KVPLANE_REASON"] == "real"


def test_environ__repeated_header__is_joined() -> None:
    headers = [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"accept", b"x"), (b"accept", b"y")]
    environ = make_environ(scope(headers=headers), b"")
    assert (environ["HTTP_COOKIE"], environ["HTTP_ACCEPT"]) == ("a=1; b=2", "x,y")
