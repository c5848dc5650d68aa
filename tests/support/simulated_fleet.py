"""Many simulated agents in one process, each on a port of its own.

`python -m tests.support.simulated_fleet --port 30000 --count 64`. HTTP/1.1 with kept
connections, straight on asyncio: 500 of them must cost less than what polls them.
"""

import argparse
import asyncio
import json
import resource

from tests.support.simulated_agent import SimulatedAgent


class _Connection(asyncio.Protocol):
    """Answers the requests of one connection, one after the other."""

    def __init__(self, agent: SimulatedAgent, delay: float) -> None:
        self._agent = agent
        self._delay = delay
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].decode("latin-1")
            length = _content_length(head)
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            if self._delay and method != "GET":
                loop = asyncio.get_running_loop()
                loop.call_later(self._delay, self._answer, method, target, body)
            else:
                self._answer(method, target, body)

    def _answer(self, method: str, target: str, body: bytes) -> None:
        if target == "/health":
            status, document = 200, {"status": "ok"}
        elif target == "/simulated/state":
            status, document = 200, {**self._agent.status(), "asked": self._agent.asked}
        else:
            status, document = self._agent.answer(method, target, body or None)
        content = json.dumps(document).encode()
        head = (
            f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(head.encode() + content)


def _content_length(head: str) -> int:
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


async def serve(port: int, count: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    for number in range(count):
        agent = SimulatedAgent(name=f"simulated-{number}")
        await loop.create_server(
            lambda agent=agent: _Connection(agent, delay), "127.0.0.1", port + number
        )
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="Seconds that a change takes.")
    options = parser.parse_args()
    # Each agent has a socket that listens and some that are connected.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(options.port, options.count, options.delay))


if __name__ == "__main__":
    main()
