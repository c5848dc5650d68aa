"""Which process works on an operation.

A process that works on one renews its lease; when that has run out, or the
process is known to be dead, another may take the operation over.
"""

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from django.utils import timezone

LEASE = timedelta(seconds=10)
"""For work that renews it."""
GRACE = timedelta(seconds=15)
"""Beyond the timeout of a call that nobody renews for."""


@dataclass(frozen=True)
class Holder:
    """One run of one process, on one host."""

    host: str
    pid: int
    nonce: str

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.nonce}"

    @classmethod
    def parse(cls, text: str) -> "Holder":
        """Raises ValueError for what str() never made."""
        host, pid, nonce = text.rsplit(":", 2)
        return cls(host, int(pid), nonce)


@cache
def _nonce_of(pid: int) -> str:
    # By process: a fork must not pass for its parent.
    return secrets.token_hex(4)


def this_process() -> Holder:
    """The holder that this process is."""
    pid = os.getpid()
    return Holder(socket.gethostname()[:64], pid, _nonce_of(pid))


def until(extra: timedelta) -> datetime:
    """The end of a lease that begins now."""
    return timezone.now() + extra


def is_abandoned(owner: str, lease_until: datetime | None) -> bool:
    """Whether nobody works on it any more: the lease has run out, or its holder was
    a process of this host that is gone."""
    if lease_until is None or lease_until < timezone.now():
        return True
    try:
        holder = Holder.parse(owner)
    except ValueError:
        return False
    me = this_process()
    if holder.host != me.host:
        return False
    if holder.pid == me.pid:
        # In a container every run has the same number.
        return holder.nonce != me.nonce
    return not _is_alive(holder.pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
