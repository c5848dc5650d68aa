"""Answers that are made while they are read."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controlplane.wsgi_bridge import PIECE_BYTES, StreamBroken, WSGIBridge

from .test_wsgi_bridge import scope

DEADLINE_S = 10.0


class Streaming:
    """A WSGI application whose answer is a stream, as Django's are."""

    streaming = True

    def __init__(self, parts: Callable[[], Iterator[bytes]]) -> None:
        self._parts = parts
        self.closed = threading.Event()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> "Streaming":
        start("200 OK", [("Content-Type", "text/plain")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self._parts()

    def close(self) -> None:
        self.closed.set()


class Client:
    """The server's side of one request; takes a piece when the test says so."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.may_take = asyncio.Semaphore(0)
        self.took = asyncio.Event()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b""}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await self.may_take.acquire()
        self.sent.append(message)
        self.took.set()

    def take(self, count: int) -> None:
        for _ in range(count):
            self.may_take.release()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def played(story: Callable[[], Any]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await story()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_stream__short__arrives_whole_and_is_closed() -> None:
    app = Streaming(lambda: iter([b"a", b"b", b"c"]))

    async def story() -> None:
        client = Client()
        client.take(10)
        await WSGIBridge(app, 1)(scope(method="GET"), client.receive, client.send)
        assert client.body == b"abc"
        assert not client.sent[-1].get("more_body", False)

    played(story)
    assert app.closed.is_set()


def test_stream__first_piece__arrives_before_the_last_is_made() -> None:
    go_on = threading.Event()

    def parts() -> Iterator[bytes]:
        yield b"x" * PIECE_BYTES
        go_on.wait(DEADLINE_S)
        yield b"end"

    async def story() -> None:
        client = Client()
        client.take(10)
        bridge = WSGIBridge(Streaming(parts), 1)
        answering = asyncio.create_task(bridge(scope(), client.receive, client.send))
        await until(lambda: len(client.body) == PIECE_BYTES)
        assert not go_on.is_set()
        go_on.set()
        await answering
        assert client.body.endswith(b"end")

    played(story)


def test_stream__read_slowly__holds_no_thread_and_is_made_no_faster() -> None:
    made: list[int] = []

    def parts() -> Iterator[bytes]:
        while True:
            made.append(1)
            yield b"x" * PIECE_BYTES

    endless = Streaming(parts)

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/endless":
            return endless(environ, start)
        start("200 OK", [])
        return [b"short"]

    async def story() -> None:
        bridge = WSGIBridge(app, 1)
        slow = Client()
        slow.take(3)
        streaming = asyncio.create_task(bridge(scope(path="/endless"), slow.receive, slow.send))
        await until(lambda: len(slow.sent) == 3)
        for _ in range(5):
            client = Client()
            client.take(10)
            await bridge(scope(path="/short"), client.receive, client.send)
            assert client.body == b"short"
        assert len(made) <= 4
        streaming.cancel()
        await until(endless.closed.is_set)

    played(story)


def test_stream__client_leaves__is_closed_and_made_no_further() -> None:
    def parts() -> Iterator[bytes]:
        while True:
            yield b"x" * PIECE_BYTES

    app = Streaming(parts)

    async def story() -> None:
        client = Client()
        client.take(1000)
        bridge = WSGIBridge(app, 1)
        answering = asyncio.create_task(bridge(scope(), client.receive, client.send))
        await client.took.wait()
        client.gone.set()
        await answering
        await until(app.closed.is_set)

    played(story)
    assert app.closed.is_set()


def test_stream__breaks__is_not_ended_as_if_it_were_complete(caplog) -> None:
    def parts() -> Iterator[bytes]:
        yield b"x" * PIECE_BYTES
        raise OSError("the disk is gone")

    app = Streaming(parts)

    async def story() -> None:
        client = Client()
        client.take(10)
        with pytest.raises(StreamBroken):
            await WSGIBridge(app, 1)(scope(), client.receive, client.send)
        assert all(message.get("more_body", True) for message in client.sent[1:])

    played(story)
    assert app.closed.is_set()
    assert "the disk is gone" in caplog.text


def test_stream__head__has_no_body() -> None:
    app = Streaming(lambda: iter([b"a"]))

    async def story() -> None:
        client = Client()
        client.take(10)
        await WSGIBridge(app, 1)(scope(method="HEAD"), client.receive, client.send)
        assert client.body == b""

    played(story)
    assert app.closed.is_set()
