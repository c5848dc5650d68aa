"""A bound socket of a lookup server, and nobody else's."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import zmq

from engine.lookup.addresses import bind_address, socket_path
from engine.lookup.errors import LookupUnavailable
from engine.lookup.messages import MAX_MESSAGE_BYTES
from engine.lookup.security import Security

_PRIVATE = 0o700
_OWN = 0o600
_LINGER_MS = 500


class Listener:
    """A ROUTER socket at an address. Raises LookupUnavailable if it cannot be bound.

    ZeroMQ takes the file of an `ipc://` socket away from whoever has it, silently; a
    lock beside the file keeps two engines of the same name apart.
    """

    def __init__(self, address: str, security: Security) -> None:
        self._lock = _lock(address)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self.socket.linger = _LINGER_MS
        self.socket.maxmsgsize = MAX_MESSAGE_BYTES
        self.socket.ipv6 = True
        security.secure_server(self.socket)
        try:
            self.socket.bind(bind_address(address))
            _keep_others_out(address)
        except (zmq.ZMQError, OSError) as error:
            self.close()
            raise LookupUnavailable(
                f"A lookup server cannot listen on {address}: {error}. Stop whatever listens "
                "there, or change lookup_server_urls."
            ) from error

    def close(self) -> None:
        """Send what was handed to the socket, for at most half a second, and let go."""
        self.socket.close()
        self._context.term()
        if self._lock is not None:
            os.close(self._lock)


def _lock(address: str) -> int | None:
    """The descriptor that holds the lock; None where the address has no file."""
    path = socket_path(address)
    if path is None:
        return None
    try:
        path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        _check_owner(path.parent)
        descriptor = os.open(
            path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise LookupUnavailable(
            f"The directory for the lookup server's socket {path} cannot be used: {error}. "
            "Mend it, or set lookup_server_urls."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise LookupUnavailable(
            f"Another process serves lookups at {path}; stop it, or give this engine another "
            "lmcache_instance_id."
        ) from None
    with suppress(OSError):
        path.unlink()
    return descriptor


def _keep_others_out(address: str) -> None:
    """Whoever may write to a socket's file may connect; ZeroMQ leaves that to the umask.
    Raises OSError."""
    path = socket_path(address)
    if path is not None:
        path.chmod(_OWN)


def _check_owner(directory: Path) -> None:
    """Raises PermissionError for a directory in which others could put a socket."""
    status = directory.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{directory} belongs to another user, or others may write to it")
