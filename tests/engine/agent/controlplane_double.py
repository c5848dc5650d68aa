"""A small HTTP server that stands for a control plane's enrolment."""

import json
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Enrolment(NamedTuple):
    """One request that arrived."""

    path: str
    authorization: str
    document: dict[str, object]


class ControlPlaneDouble(ThreadingHTTPServer):
    """Answers each enrolment with the next status, the last one for ever."""

    def __init__(self, statuses: list[int], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.statuses = statuses
        self.enrolments: list[Enrolment] = []
        self.arrived = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ControlPlaneDouble

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seen = self.server.enrolments
        status = self.server.statuses[min(len(seen), len(self.server.statuses) - 1)]
        seen.append(Enrolment(self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.server.arrived.release()

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at `enrolments`, not at a log."""


@contextmanager
def controlplane(*statuses: int, tls: ssl.SSLContext | None = None) -> Iterator[ControlPlaneDouble]:
    """A double that runs in a thread, with `tls` over TLS."""
    with ControlPlaneDouble(list(statuses)) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        with _in_a_thread(server):
            yield server


@contextmanager
def saying(reply: Callable[[bytes], Iterable[bytes]]) -> Iterator[str]:
    """The URL of a server that answers each request with those bytes, HTTP or not."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            received = self.request.recv(1 << 16)
            try:
                for part in reply(received):
                    self.request.sendall(part)
            except OSError:
                return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        with _in_a_thread(server):
            yield f"http://127.0.0.1:{server.server_address[1]}"


@contextmanager
def _in_a_thread(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
