"""What a medium behind the remote tier must be able to do, and how it says that it
cannot."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from engine.storage.format import ChunkLayout
from engine.tokens import ChunkKey

_DIGEST_CHARACTERS = 32


class ConnectorError(Exception):
    """The medium failed."""


class ConnectorTimeout(ConnectorError):
    """The medium did not answer in time."""


class ConnectorRefusal(ConnectorError):
    """The medium is well, but takes no writes: it is full, or read-only."""


class InvalidRemoteURL(ValueError):
    """The URL names no connector, or nothing that its connector understands. The
    message never shows the URL, which may hold a password."""


class EncodedChunk(NamedTuple):
    """A chunk as engine.storage.format has it: the bytes of the header and those of
    the payload, as stored. The payload is written from where it lies."""

    header: memoryview | bytes
    payload: memoryview | bytes


@dataclass(frozen=True)
class ConnectorContext:
    """What a connector gets to know besides its URL. `timeout_s` is asked for anew at
    each call, in seconds; a connector bounds every wait by it where its medium
    lets it."""

    layout: ChunkLayout
    timeout_s: Callable[[], float]


class Connector(Protocol):
    """A medium that holds chunks under their keys, all of one namespace. Thread-safe.

    Made from a URL and a ConnectorContext, without a connection: a medium that is
    away must not keep an engine from starting. The making raises InvalidRemoteURL,
    everything else ConnectorError.

    Memory that `get` returns is the connector's to allocate and the caller's to
    keep: a call that takes too long is abandoned by its caller and goes on in its
    thread, so a connector is never handed memory to fill.
    """

    max_value_bytes: int
    """The longest payload that the medium takes."""

    def contains(self, keys: Sequence[ChunkKey]) -> int:
        """How many leading keys are stored; in one round trip where the protocol has
        one."""

    def get(self, keys: Sequence[ChunkKey]) -> list[EncodedChunk]:
        """What is stored under the leading keys, up to the first that is not there, in
        one round trip where the protocol has one. A value that cannot be a chunk
        comes with whatever bytes it has, or none."""

    def put(self, chunks: Mapping[ChunkKey, EncodedChunk]) -> None:
        """Store chunks, each whole or not at all. When this raises, any of them may
        have been stored."""

    def delete(self, keys: Sequence[ChunkKey]) -> None:
        """Remove what is stored under these keys, if anything is."""

    def clear(self) -> Iterator[int]:
        """Remove all chunks of the namespace, step by step: each step removes a bounded
        number and yields how many it did."""

    def ping(self) -> None:
        """Raise unless the medium can be expected to serve."""

    def close(self) -> None:
        """Let go of connections. Calls under way may fail."""


def namespace_digest(namespace: str) -> str:
    """A namespace as 32 hexadecimal digits, fit for a directory or a key."""
    return hashlib.sha256(namespace.encode()).hexdigest()[:_DIGEST_CHARACTERS]
