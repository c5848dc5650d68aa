"""A transport that keeps to one point in time, from connecting to the last byte.

httpx starts its read timeout anew with every read from the socket, so an agent
that drips a byte at a time is never too late. Here the connect, read and write
timeouts of a request are deadlines: points on the clock of time.perf_counter().
"""

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

_CONNECT_TIMEOUT_S = 5.0


class DeadlineTransport(httpx.HTTPTransport):
    """Reads `connect`, `read` and `write` of a request's timeouts as deadlines;
    a connection is made within five seconds of them. Proxies from the
    environment are not used."""

    def __init__(self, limits: httpx.Limits = httpx.Limits()) -> None:  # noqa: B008
        super().__init__(trust_env=False, limits=limits)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(),
        )


class _Backend(httpcore.NetworkBackend):
    """Connects with what is left until the deadline."""

    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        deadline = _sooner(timeout)
        refusal: Exception | None = None
        # Address by address: the timeout would start anew with each.
        for address in _resolve(host, port):
            try:
                return _Stream(
                    self._backend.connect_tcp(
                        address,
                        port,
                        _left(deadline, httpcore.ConnectTimeout),
                        local_address,
                        socket_options,
                    )
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                refusal = refusal or error
        raise refusal or httpcore.ConnectError(f"{host} has no address")


class _Stream(httpcore.NetworkStream):
    """Reads and writes with what is left until the deadline."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        try:
            while rest:
                self._socket.settimeout(_left(timeout, httpcore.WriteTimeout))
                rest = rest[self._socket.send(rest) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(_sooner(timeout), httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return [str(address[0]) for *_, address in found]


def _sooner(deadline: float | None) -> float:
    soon = time.perf_counter() + _CONNECT_TIMEOUT_S
    return soon if deadline is None else min(deadline, soon)


def _left(deadline: float | None, too_late: type[Exception]) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.perf_counter()
    if left <= 0:
        raise too_late("the time is up")
    return left
