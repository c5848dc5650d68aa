"""Waking a thread that waits in a ZeroMQ poll: sockets of ZeroMQ belong to one
thread, so others may not touch them."""

import contextlib
import socket
from collections import deque
from collections.abc import Callable

Order = Callable[[], None]


class Orders:
    """Calls that other threads ask the polling thread to make. Thread-safe."""

    def __init__(self) -> None:
        self._orders: deque[Order] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """What to poll for reading."""
        return self._reader.fileno()

    def give(self, order: Order) -> None:
        """Have the polling thread call that, soon; no effect once it has ended."""
        self._orders.append(order)
        # A full buffer wakes it as well.
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def obey(self) -> None:
        """For the polling thread: make all calls that were asked for."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        while self._orders:
            self._orders.popleft()()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
