"""Agents that say over a socket what a test has them say."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from controlplane.forwarding import AgentClient
from engine.contract import endpoint

OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"freeze": 1}'


@contextmanager
def raw_server(*replies: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each connection one of the replies and hangs up; None
    keeps the connection open in silence."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []
    done = threading.Event()

    def serve() -> None:
        for text in replies:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                received.append(connection.recv(65536))
                if text is None:
                    done.wait(10)
                else:
                    connection.sendall(text)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        done.set()
        # Closing alone would not wake a thread that waits in accept().
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        listener.close()


@dataclass
class KeepingServer:
    """What a keeping_server saw: for each request the number of its connection
    and its bytes."""

    url: str
    received: list[tuple[int, bytes]] = field(default_factory=list)
    hung_up: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released each time the server closed a connection."""


@contextmanager
def keeping_server(*connections: list[bytes], host: str = "127.0.0.1") -> Iterator[KeepingServer]:
    """A server that answers the requests on each connection in turn and then
    hangs up; an empty answer hangs up after the request. A connection without
    any request does not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    shown = f"[{host}]" if ":" in host else host
    server = KeepingServer(f"http://{shown}:{listener.getsockname()[1]}")

    def serve() -> None:
        number = 0
        while number < len(connections):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answers = iter(connections[number])
                asked = False
                for text in answers:
                    request = read_request(connection)
                    if not request:
                        break
                    asked = True
                    server.received.append((number, request))
                    connection.sendall(text)
            number += asked
            server.hung_up.release()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        listener.close()


def read_request(connection: socket.socket) -> bytes:
    """One request with its body; b"" if the caller hung up."""
    request = b""
    while b"\r\n\r\n" not in request:
        part = connection.recv(65536)
        if not part:
            return b""
        request += part
    head = request.partition(b"\r\n\r\n")[0]
    declared = re.search(rb"content-length: (\d+)", head.lower())
    total = len(head) + 4 + int(declared[1] if declared else 0)
    while len(request) < total:
        request += connection.recv(65536)
    return request


def call(client: AgentClient, agent, operation_id="get_freeze_status", timeout=5.0):
    return client.send(
        agent, endpoint(operation_id), query="", body=None, request_id="r", timeout=timeout
    )
