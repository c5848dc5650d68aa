"""What strangers send and hold: bounded, before anybody asks for a token."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from engine.agent import bounded_protocol
from engine.agent.agent import Agent
from engine.agent.bounded_protocol import MAX_HEAD_BYTES, MAX_PIPELINED
from engine.agent.server import Listener, serve

TOKEN = "correct-horse"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
FREEZE_STATUS = (
    b"GET /freeze/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer correct-horse\r\n\r\n"
)
DEADLINE_SECONDS = 30.0


class Caller(NamedTuple):
    """One connection to the agent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send what the agent takes; it may hang up meanwhile."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """All that comes until the agent hangs up."""
        received = bytearray()
        try:
            while part := await self.reader.read(1 << 16):
                received += part
        except ConnectionError:
            pass
        return bytes(received)

    def close(self) -> None:
        self.writer.close()


Call = Callable[[], Awaitable[Caller]]


@asynccontextmanager
async def served(agent: Agent) -> AsyncIterator[Call]:
    """The agent on a port; calls to it are closed at the end."""
    stop = asyncio.Event()
    callers: list[Caller] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serving = asyncio.create_task(
            serve([Listener(agent, listening)], stop, lambda agent, url: None)
        )

        async def call() -> Caller:
            callers.append(Caller(*await asyncio.open_connection("127.0.0.1", port)))
            return callers[-1]

        try:
            yield call
        finally:
            for caller in callers:
                caller.close()
            stop.set()
            await serving


def play(scenario: Awaitable[None]) -> None:
    async def in_time() -> None:
        await asyncio.wait_for(scenario, DEADLINE_SECONDS)

    asyncio.run(in_time())


@pytest.fixture
def guarded(make_worker) -> Agent:
    return make_worker(agent_token=TOKEN)


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (b"GET /health?", b"v"),
        (b"GET /health HTTP/1.1\r\nX-Long: ", b"v"),
        (b"GET /health HTTP/1.1\r\n", b"X-Many: v\r\n"),
        (b"POST /conf HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"v"),
        (b"POST /conf HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Many: v\r\n"),
    ],
    ids=["URL", "one header", "many headers", "a chunk's extension", "trailers"],
)
def test_head__without_an_end__is_cut_off(guarded: Agent, head: bytes, more: bytes) -> None:
    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            await caller.send(head)
            # Far more than may be, in pieces, as long as the agent takes them.
            for _ in range(64):
                await caller.send(more * (16_384 // len(more)))
            assert b" 200 " not in await caller.rest()

    play(scenario())


def test_head__too_long__is_431_naming_the_limit(guarded: Agent) -> None:
    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            await caller.send(b"GET /health HTTP/1.1\r\nX-Long: " + b"v" * (MAX_HEAD_BYTES + 1))
            status, body = await caller.answer()
            assert (status, str(MAX_HEAD_BYTES).encode() in body) == (431, True)

    play(scenario())


def test_head__of_ninety_kilobytes__is_answered(guarded: Agent) -> None:
    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            await caller.send(HEALTH[:-2] + b"X-Long: " + b"v" * (90 << 10) + b"\r\n\r\n")
            assert (await caller.answer())[0] == 200

    play(scenario())


def test_body__of_a_refused_call__is_passed_over_whatever_its_length(guarded: Agent) -> None:
    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            size = 4 * MAX_HEAD_BYTES
            await caller.send(b"POST /conf HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
            assert (await caller.answer())[0] == 401
            await caller.send(b"x" * size + HEALTH)
            assert (await caller.answer())[0] == 200

    play(scenario())


def test_pipelining__a_few_requests__are_answered_in_order(guarded: Agent) -> None:
    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            await caller.send((HEALTH + FREEZE_STATUS) * (MAX_PIPELINED // 2))
            bodies = [(await caller.answer())[1] for _ in range(MAX_PIPELINED)]
            assert bodies[::2] == [b'{"status":"ok"}'] * (MAX_PIPELINED // 2)
            assert all(b"freeze" in body for body in bodies[1::2])

    play(scenario())


def test_pipelining__without_an_end__ends_the_connection_and_nobody_else_waits(
    guarded: Agent,
) -> None:
    async def scenario() -> None:
        async with served(guarded) as call:
            flooding, other = await call(), await call()
            await flooding.send(HEALTH * 4_000)
            assert (await flooding.rest()).count(b'{"status":"ok"}') <= MAX_PIPELINED + 1
            await other.send(HEALTH)
            assert (await other.answer())[0] == 200

    play(scenario())


@pytest.mark.parametrize(
    "begun", [b"", b"\r\n", HEALTH[:20], b"POST /conf HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_request__that_does_not_come__ends_the_connection(
    guarded: Agent, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(bounded_protocol, "REQUEST_SECONDS", 0.2)

    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            await caller.send(begun)
            assert b" 200 " not in await caller.rest()

    play(scenario())


def test_request__byte_by_byte_on_a_used_connection__ends_it(
    guarded: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "REQUEST_SECONDS", 0.2)

    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            await caller.send(HEALTH)
            assert (await caller.answer())[0] == 200
            ended = asyncio.create_task(caller.rest())
            for byte in HEALTH * 100:
                await caller.send(bytes([byte]))
                if (await asyncio.wait([ended], timeout=0.02))[0]:
                    break
            assert ended.done()

    play(scenario())


def test_answer__longer_than_a_request_may_take__is_waited_for(
    guarded: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "REQUEST_SECONDS", 0.05)
    begun = asyncio.Event()

    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            loop = asyncio.get_running_loop()
            take_long = loop.create_future()
            monkeypatch.setattr(guarded.workers, "run", lambda *args: (begun.set(), take_long)[1])
            await caller.send(FREEZE_STATUS.replace(b"GET /freeze/status", b"PUT /freeze/enable"))
            # What follows early must not count against the caller either.
            await caller.send(HEALTH[:10])
            await begun.wait()
            loop.call_later(0.3, take_long.set_result, None)
            assert (await caller.answer())[0] == 200

    play(scenario())


def test_connections__one_too_many__the_longest_idle_one_goes(
    guarded: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "MAX_CONNECTIONS", 3)

    async def scenario() -> None:
        async with served(guarded) as call:
            oldest, used, idle = [await call() for _ in range(3)]
            for caller in (oldest, used, idle, used):
                await caller.send(HEALTH)
                assert (await caller.answer())[0] == 200
            newest = await call()
            await newest.send(HEALTH)
            assert (await newest.answer())[0] == 200
            assert await oldest.rest() == b""
            for caller in (used, idle):
                await caller.send(HEALTH)
                assert (await caller.answer())[0] == 200

    play(scenario())


def test_connections__all_in_use__503_saying_how_many(
    guarded: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "MAX_CONNECTIONS", 1)
    begun = asyncio.Event()

    async def scenario() -> None:
        async with served(guarded) as call:
            busy = await call()
            take_long = asyncio.get_running_loop().create_future()
            monkeypatch.setattr(guarded.workers, "run", lambda *args: (begun.set(), take_long)[1])
            await busy.send(FREEZE_STATUS.replace(b"GET /freeze/status", b"PUT /freeze/enable"))
            await begun.wait()
            status, body = await (await call()).answer()
            assert (status, b"1 calls" in body) == (503, True)
            take_long.set_result(None)
            assert (await busy.answer())[0] == 200

    play(scenario())


def test_answers__that_nobody_takes__end_the_connection(
    guarded: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "ANSWER_SECONDS", 0.2)
    ask = FREEZE_STATUS.replace(b"/freeze/status", b"/openapi.json")

    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
            lost = asyncio.create_task(caller.writer.wait_closed())
            while not lost.done():
                await caller.send(ask * 8)
                await asyncio.wait([lost], timeout=0.02)
            # The agent goes on for others.
            other = await call()
            await other.send(HEALTH)
            assert (await other.answer())[0] == 200

    play(scenario())


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("packets", [1, 2])
def test_upgrade__wished_for_with_a_body__is_passed_over_and_the_body_read(
    guarded: Agent, packets: int
) -> None:
    body = b'{"min_retrieve_tokens":51}'
    head = (
        b"POST /conf HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer correct-horse\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n%b\r\n" % (len(body), UPGRADE)
    )

    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            for part in [head + body] if packets == 1 else [head, body]:
                await caller.send(part)
            assert await caller.answer() == (200, b'{"updated":{"min_retrieve_tokens":51}}')
            await caller.send(HEALTH[:-2] + UPGRADE + b"\r\n" + HEALTH)
            assert [(await caller.answer())[0] for _ in range(2)] == [200, 200]

    play(scenario())


def test_connect__to_somewhere__is_400(guarded: Agent) -> None:
    async def scenario() -> None:
        async with served(guarded) as call:
            caller = await call()
            await caller.send(b"CONNECT kv.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await caller.answer())[0] == 400

    play(scenario())
