"""Chunks in Redis or Valkey, one server or a cluster.

Each chunk is a hash under the key `kvplane:<namespace digest>:<chunk hash hex>`
with the fields `header` and `payload`: one HSET makes both appear at once, and
neither is copied to be sent. Commands: EXISTS, HMGET, HSET, UNLINK, SCAN
(https://redis.io/docs/latest/commands/).
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from redis import exceptions

from engine.storage.connectors.connector import (
    ConnectorContext,
    ConnectorError,
    ConnectorRefusal,
    ConnectorTimeout,
    EncodedChunk,
    namespace_digest,
)
from engine.storage.connectors.redis_link import Client, link_of
from engine.tokens import ChunkKey

_PREFIX = "kvplane"
_HEADER = b"header"
_PAYLOAD = b"payload"
_SCANNED_AT_ONCE = 1000
_MAX_BULK_BYTES = 512 << 20
_WRONG_TYPE = "WRONGTYPE"

# Python's own errors are what redis-py's parser raises for bytes that are not RESP.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_TIMEOUTS = (exceptions.TimeoutError, TimeoutError)
_TAKES_NO_WRITES = (
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.NoPermissionError,
)


class _Opened(NamedTuple):
    client: Client
    timeout_s: float


class RedisConnector:
    """`redis://[[user]:[password]@]host[:port][/database]`, `rediss://` with TLS, and
    `redis+cluster://`, `rediss+cluster://` for a cluster found by one of its nodes.
    A server's certificate is verified against the system's authorities or those
    in `?ssl_ca_certs=<file>`.

    A call sends once and is not repeated; each wait for the network is bounded by
    the timeout.
    """

    max_value_bytes = _MAX_BULK_BYTES
    """Redis' `proto-max-bulk-len`, unless the server says otherwise."""

    def __init__(self, url: str, context: ConnectorContext) -> None:
        """Raises InvalidRemoteURL."""
        self._link = link_of(url)
        self._timeout_s = context.timeout_s
        self._prefix = f"{_PREFIX}:{namespace_digest(context.layout.namespace)}:"
        self._opened: list[_Opened] = []
        self._opening = threading.Lock()

    def contains(self, keys: Sequence[ChunkKey]) -> int:
        with self._faults():
            replies = self._send([("EXISTS", self._name(key)) for key in keys])
            for index, reply in enumerate(replies):
                if _number(reply) == 0:
                    return index
            return len(keys)

    def get(self, keys: Sequence[ChunkKey]) -> list[EncodedChunk]:
        found: list[EncodedChunk] = []
        with self._faults():
            for reply in self._send(
                [("HMGET", self._name(key), _HEADER, _PAYLOAD) for key in keys]
            ):
                if _is_another_type(reply):
                    found.append(EncodedChunk(b"", b""))
                    continue
                header, payload = _fields(reply)
                if header is None and payload is None:
                    break
                found.append(EncodedChunk(header or b"", payload or b""))
        return found

    def put(self, chunks: Mapping[ChunkKey, EncodedChunk]) -> None:
        with self._faults():
            commands = [
                ("HSET", self._name(key), _HEADER, chunk.header, _PAYLOAD, chunk.payload)
                for key, chunk in chunks.items()
            ]
            for reply in self._send(commands):
                _number(reply)

    def delete(self, keys: Sequence[ChunkKey]) -> None:
        with self._faults():
            for reply in self._send([("UNLINK", self._name(key)) for key in keys]):
                _number(reply)

    def clear(self) -> Iterator[int]:
        with self._faults():
            servers = self._link.servers(self._client())
        for server in servers:
            cursor = 0
            while True:
                with self._faults():
                    cursor, names = server.execute_command(
                        "SCAN", cursor, "MATCH", f"{self._prefix}*", "COUNT", _SCANNED_AT_ONCE
                    )
                    # One key a command: in a cluster they lie in different slots.
                    replies = _replies(server, [("UNLINK", name) for name in names])
                    removed = sum(_number(reply) for reply in replies)
                yield removed
                if cursor == 0:
                    break

    def ping(self) -> None:
        # A server that loads its data, or a cluster without its slots, may well answer PING.
        with self._faults():
            for reply in self._send([("EXISTS", f"{self._prefix}ping")]):
                _number(reply)

    def close(self) -> None:
        with self._opening:
            opened, self._opened = self._opened, []
        for each in opened:
            with contextlib.suppress(exceptions.RedisError, OSError):
                each.client.close()

    def _name(self, key: ChunkKey) -> str:
        return f"{self._prefix}{key.chunk_hash.hex()}"

    def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        return _replies(self._client(), commands)

    def _client(self) -> Client:
        timeout_s = self._timeout_s()
        with self._opening:
            if not self._opened or self._opened[0].timeout_s != timeout_s:
                # Calls under way finish on the old client, which goes with the last of them.
                self._opened = [_Opened(self._link.open(timeout_s), timeout_s)]
            return self._opened[0].client

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except _TIMEOUTS as error:
            raise ConnectorTimeout(str(error)) from error
        except _TAKES_NO_WRITES as error:
            raise ConnectorRefusal(str(error)) from error
        except exceptions.RedisClusterException as error:
            if isinstance(error.__cause__, _TIMEOUTS):
                raise ConnectorTimeout(str(error)) from error
            raise ConnectorError(str(error)) from error
        except (exceptions.RedisError, OSError) as error:
            raise ConnectorError(str(error)) from error
        except _UNREADABLE as error:
            raise ConnectorError(f"the server does not speak RESP: {error!r}") from error


def _replies(client: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The replies in one round trip to each server; one may be an exception."""
    if not commands:
        return []
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        replies = pipeline.execute(raise_on_error=False)
    if len(replies) != len(commands):
        raise ValueError(f"{len(replies)} replies to {len(commands)} commands")
    return list(replies)


def _number(reply: Any) -> int:
    if isinstance(reply, Exception):
        raise reply
    if not isinstance(reply, int):
        raise TypeError(f"a number was expected, not {type(reply).__name__}")
    return reply


def _fields(reply: Any) -> tuple[bytes | None, bytes | None]:
    if isinstance(reply, Exception):
        raise reply
    header, payload = reply
    for field in (header, payload):
        if not isinstance(field, bytes | None):
            raise TypeError(f"bytes were expected, not {type(field).__name__}")
    return header, payload


def _is_another_type(reply: Any) -> bool:
    return isinstance(reply, exceptions.ResponseError) and str(reply).startswith(_WRONG_TYPE)
