"""Chunks, leases and servers for tests of the remote tier."""

import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch

from engine.device import KVCacheSpec
from engine.storage.backend import ChunkBuffer, Lease
from engine.storage.connectors import Connector, ConnectorContext, open_connector
from engine.storage.format import ChunkLayout
from engine.storage.payload import payload_of
from engine.storage.remote import RemoteBackend
from engine.tokens import ChunkKey
from tests.support.waiting import eventually

TOKENS = 8
WAIT_SECONDS = 30.0


def layout(dtype: torch.dtype = torch.bfloat16, *, heads: int = 2) -> ChunkLayout:
    """A layout with a namespace that no other test has."""
    spec = KVCacheSpec(3, heads, 8, dtype, 4, 16, use_mla=False)
    return ChunkLayout(f"model-{uuid.uuid4().hex}@1@0@{dtype}@vllm", spec)


def key(of: ChunkLayout, number: int) -> ChunkKey:
    return ChunkKey(of.namespace, number.to_bytes(32, "big"))


def chunk(of: ChunkLayout, seed: int) -> torch.Tensor:
    """A chunk of TOKENS tokens with random values, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(of.spec.chunk_shape(TOKENS), generator=generator)
    return values.to(of.spec.dtype)


def same_bytes(left: torch.Tensor, right: torch.Tensor) -> bool:
    return bytes(payload_of(left)) == bytes(payload_of(right))


class Leases:
    """Makes leases and counts how often each is released."""

    def __init__(self, of: ChunkLayout) -> None:
        self._layout = of
        self._kept: list[torch.Tensor] = []
        self.releases: list[int] = []
        self._counting = threading.Lock()

    def make(self, number: int) -> Lease:
        """A lease of the chunk with that number; its memory is spoilt on release."""
        tensor = chunk(self._layout, number)
        index = len(self.releases)
        self._kept.append(tensor)
        self.releases.append(0)

        def release() -> None:
            with self._counting:
                self.releases[index] += 1
            tensor.zero_()

        payload = payload_of(tensor).toreadonly()
        return Lease(key(self._layout, number), TOKENS, payload, release)

    def all_released_once(self) -> bool:
        with self._counting:
            return self.releases == [1] * len(self.releases)


def connector(url: str, of: ChunkLayout, timeout_s: float = 5.0) -> Connector:
    return open_connector(url, ConnectorContext(of, lambda: timeout_s))


@contextmanager
def backend(
    over: Connector | str,
    of: ChunkLayout,
    *,
    serde: str = "naive",
    timeout_s: float = 5.0,
    queue_chunks: int = 64,
    threshold: int = 1000,
    interval_s: float = 3600.0,
) -> Iterator[RemoteBackend]:
    """A backend over a connector or the one for a URL; closed at the end."""
    made = RemoteBackend(
        connector(over, of, timeout_s) if isinstance(over, str) else over,
        of,
        serde_name=lambda: serde,
        timeout_s=lambda: timeout_s,
        queue_chunks=queue_chunks,
        breaker_threshold=lambda: threshold,
        breaker_interval_s=lambda: interval_s,
    )
    try:
        yield made
    finally:
        made.close()


def store(remote: RemoteBackend, of: ChunkLayout, numbers: Sequence[int]) -> None:
    """Offer chunks and wait until they are written."""
    leases = Leases(of)
    for number in numbers:
        assert remote.offer(leases.make(number))
    assert remote.flush(WAIT_SECONDS)
    eventually(leases.all_released_once)


def buffers(
    of: ChunkLayout, numbers: Sequence[int]
) -> tuple[list[ChunkBuffer], list[torch.Tensor]]:
    """Memory for chunks, all ones, and the same as tensors."""
    tensors = [torch.ones(of.spec.chunk_shape(TOKENS), dtype=of.spec.dtype) for _ in numbers]
    made = [
        ChunkBuffer(key(of, number), TOKENS, payload_of(tensor))
        for number, tensor in zip(numbers, tensors, strict=True)
    ]
    return made, tensors


def load(remote: RemoteBackend, of: ChunkLayout, numbers: Sequence[int]) -> list[torch.Tensor]:
    """What could be loaded of the chunks with these numbers."""
    made, tensors = buffers(of, numbers)
    return tensors[: remote.load(made)]


class AnsweringServer:
    """Listens on a free port; says the same to whatever comes, in pieces, and counts
    what comes."""

    def __init__(self, pieces: Sequence[bytes], pause_s: float) -> None:
        self._pieces = pieces
        self._pause_s = pause_s
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests = 0
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(WAIT_SECONDS)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.settimeout(WAIT_SECONDS)
            if peer.recv(1 << 16):
                self.requests += 1
                for piece in self._pieces:
                    peer.sendall(piece)
                    self._closing.wait(self._pause_s)


@contextmanager
def answering(answer: bytes) -> Iterator[AnsweringServer]:
    """A server that says `answer` to the first thing it hears, then closes."""
    with _closing(AnsweringServer([answer], 0.0)) as server:
        yield server


@contextmanager
def trickling(answer: bytes, pause_s: float) -> Iterator[AnsweringServer]:
    """A server that says `answer` byte by byte."""
    pieces = [bytes([byte]) for byte in answer]
    with _closing(AnsweringServer(pieces, pause_s)) as server:
        yield server


@contextmanager
def _closing(server: AnsweringServer) -> Iterator[AnsweringServer]:
    try:
        yield server
    finally:
        server.close()
