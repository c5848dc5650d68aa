"""Serving the agents of one process: one port each, one event loop for all."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import anyio.lowlevel
import uvicorn

from engine.agent.agent import Agent
from engine.agent.app import create_app
from engine.agent.bounded_protocol import MAX_CONNECTIONS, BoundedHttpProtocol
from engine.agent.listening import url_of
from engine.agent.registration import deregister, register
from engine.contract.version import commit_id

GRACE_SECONDS = 3.0
"""How long calls in flight may go on after the order to stop."""
# Then they are answered 503, and uvicorn drops what still does not end.
_LAST_ANSWERS_SECONDS = 2
# A client that pools connections must be the one that drops an idle one: a
# request sent while the server closes it is lost.
_KEEP_ALIVE_SECONDS = 75
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Listener:
    """An agent and the bound socket that it is served on."""

    agent: Agent
    socket: socket.socket


Announce = Callable[[Agent, str], None]
"""Called with an agent and its base URL as soon as it answers."""


class _Server(uvicorn.Server):
    """A server that tells when it listens, and leaves signals to the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(listeners: Sequence[Listener], stop: asyncio.Event, announce: Announce) -> None:
    """Serve every agent until `stop` is set, then tell their control planes and end
    within seconds: calls in flight have GRACE_SECONDS, after which they are answered
    503."""
    # Asking git takes milliseconds; it must not happen within a request.
    await asyncio.to_thread(commit_id)
    for listener in listeners:
        listener.agent.workers.start()
    # Starlette's way to see that a caller has gone imports half of anyio at first
    # use, which takes tens of milliseconds of the event loop.
    await anyio.lowlevel.checkpoint()
    servers = [_Server(_server_config(listener.agent)) for listener in listeners]
    async with asyncio.TaskGroup() as tasks:
        serving = [
            tasks.create_task(server.serve([listener.socket]))
            for server, listener in zip(servers, listeners, strict=True)
        ]
        registering = [
            tasks.create_task(_announce_and_register(server, listener, announce))
            for server, listener in zip(servers, listeners, strict=True)
        ]
        await stop.wait()
        for task in registering:
            task.cancel()
        for server in servers:
            server.should_exit = True
        # Whether it was registered cannot be known here: an enrolment that was
        # cancelled may have arrived.
        for listener in listeners:
            tasks.create_task(deregister(listener.agent))
        await asyncio.wait(serving, timeout=GRACE_SECONDS)
        for listener in listeners:
            listener.agent.workers.abandon()


def run(listeners: Sequence[Listener], announce: Announce) -> None:
    """Serve every agent until SIGINT or SIGTERM. For the main thread."""
    with asyncio.Runner(
        loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()
    ) as runner:
        runner.run(_serve_until_signalled(listeners, announce))


async def _serve_until_signalled(listeners: Sequence[Listener], announce: Announce) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        await serve(listeners, stop, announce)
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def _announce_and_register(server: _Server, listener: Listener, announce: Announce) -> None:
    await server.listening.wait()
    config = listener.agent.config
    # Finding the own address may ask a name server.
    url = await asyncio.to_thread(url_of, listener.socket, config.controlplane_url)
    announce(listener.agent, url)
    await register(listener.agent, url)


def _server_config(agent: Agent) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(agent),
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        # So many are accepted at once, before the first of them can be turned away.
        backlog=MAX_CONNECTIONS,
        timeout_graceful_shutdown=round(GRACE_SECONDS) + _LAST_ANSWERS_SECONDS,
    )
