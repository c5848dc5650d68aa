"""Where the workers' lookup servers listen."""

import hashlib
import os
import socket
import tempfile
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

_IPC = "ipc://"


class AddressSettings(Protocol):
    """The part of a configuration that addresses are made of."""

    @property
    def lookup_server_urls(self) -> list[str] | None: ...
    @property
    def lmcache_instance_id(self) -> str: ...
    @property
    def internal_api_server_port_start(self) -> int: ...


def address_of(settings: AddressSettings, worker_id: int) -> str:
    """The ZeroMQ address of that worker's lookup server.

    Unless it is configured, a socket in the own user's runtime directory. Its name
    is made of what tells engines on one machine apart, and hashed: the path of a
    socket has room for about a hundred bytes (unix(7)).
    """
    if settings.lookup_server_urls is not None:
        return settings.lookup_server_urls[worker_id]
    engine = f"{settings.lmcache_instance_id}\n{settings.internal_api_server_port_start}"
    name = hashlib.sha256(engine.encode()).hexdigest()[:16]
    return f"{_IPC}{runtime_directory()}/lookup-{name}-{worker_id}"


def runtime_directory() -> Path:
    """Where sockets lie by default; the same for all processes of a user."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given:
        return Path(given) / "kvplane"
    return Path(tempfile.gettempdir()) / f"kvplane-{os.getuid()}"


def socket_path(address: str) -> Path | None:
    """The file of an `ipc://` address; None for one that has no file."""
    return Path(address.removeprefix(_IPC)) if address.startswith(_IPC) else None


def bind_address(address: str) -> str:
    """The address as a server binds it: ZeroMQ wants a number where people write the
    name of a host. Raises OSError if the name means nothing."""
    if not address.startswith("tcp://"):
        return address
    parts = urlsplit(address)
    family, _, _, _, (host, *_) = socket.getaddrinfo(
        parts.hostname, parts.port, type=socket.SOCK_STREAM
    )[0]
    return (
        f"tcp://[{host}]:{parts.port}"
        if family is socket.AF_INET6
        else f"tcp://{host}:{parts.port}"
    )
