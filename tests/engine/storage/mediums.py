"""Mediums of the remote tier that can be looked into and damaged, and what a tier counted."""

from abc import ABC, abstractmethod
from pathlib import Path

from engine.storage.connectors import namespace_digest
from engine.storage.format import ChunkLayout
from engine.storage.remote import RemoteBackend
from engine.storage.tally import Count, Drop, Fault
from tests.support.redis_server import RedisServer
from tests.support.remote import key


class Medium(ABC):
    """A real medium, and a door to what is stored in it that is not the connector's."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def read(self, of: ChunkLayout, number: int) -> bytes:
        """Header and payload of a stored chunk, or nothing."""

    @abstractmethod
    def write(self, of: ChunkLayout, number: int, value: bytes) -> None:
        """Put a value where that of the chunk would be."""


class Directory(Medium):
    def __init__(self, root: Path) -> None:
        super().__init__(f"fs://{root}")
        self._root = root

    def read(self, of: ChunkLayout, number: int) -> bytes:
        path = self._path(of, number)
        return path.read_bytes() if path.exists() else b""

    def write(self, of: ChunkLayout, number: int, value: bytes) -> None:
        path = self._path(of, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)

    def _path(self, of: ChunkLayout, number: int) -> Path:
        name = key(of, number).chunk_hash.hex()
        return self._root / namespace_digest(of.namespace) / name[:2] / f"{name}.kvchunk"


class Server(Medium):
    def __init__(self, scheme: str, server: RedisServer) -> None:
        super().__init__(f"{scheme}://{server.address}")
        self._server = server

    def read(self, of: ChunkLayout, number: int) -> bytes:
        with self._server.client() as client:
            header, payload = client.hmget(self._name(of, number), "header", "payload")
        return (header or b"") + (payload or b"")

    def write(self, of: ChunkLayout, number: int, value: bytes) -> None:
        fields = {"header": value[:4096], "payload": value[4096:]}
        with self._server.client() as client:
            client.hset(self._name(of, number), mapping=fields)

    def _name(self, of: ChunkLayout, number: int) -> str:
        return f"kvplane:{namespace_digest(of.namespace)}:{key(of, number).chunk_hash.hex()}"


def counted(remote: RemoteBackend, what: Count) -> float:
    return remote.tally.snapshot().counts[what]


def dropped(remote: RemoteBackend) -> dict[Drop, int]:
    return {drop: times for drop, times in remote.tally.snapshot().drops.items() if times}


def faults(remote: RemoteBackend) -> dict[Fault, int]:
    return {fault: times for fault, times in remote.tally.snapshot().faults.items() if times}
