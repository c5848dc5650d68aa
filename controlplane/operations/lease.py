"""Which process works on an operation.

A process that works on one renews its lease; when that has run out, or the
process is known to be dead, another may take the operation over.
"""

import hashlib
import os
import secrets
import socket
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from django.utils import timezone

LEASE = timedelta(seconds=10)
"""For work that renews it."""
GRACE = timedelta(seconds=15)
"""Beyond the timeout of a call that nobody renews for."""


@dataclass(frozen=True)
class Holder:
    """One run of one process. `place` is where its number means something: containers
    may share the name of a host and not its processes."""

    host: str
    place: str
    pid: int
    nonce: str

    def __str__(self) -> str:
        return f"{self.host}:{self.place}:{self.pid}:{self.nonce}"

    @classmethod
    def parse(cls, text: str) -> "Holder":
        """Raises ValueError for what str() never made."""
        host, place, pid, nonce = text.rsplit(":", 3)
        return cls(host, place, int(pid), nonce)


@cache
def _nonce_of(pid: int) -> str:
    # By process: a fork must not pass for its parent.
    return secrets.token_hex(4)


@cache
def _place() -> str:
    """Differs between any two PID namespaces that live at the same time, on one machine
    or on two. Systems other than Linux have none: there the host's name must do."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "" if sys.platform != "linux" else secrets.token_hex(6)
    return hashlib.sha256(f"{boot_id}{namespace}".encode()).hexdigest()[:12]


def this_process() -> Holder:
    """The holder that this process is."""
    pid = os.getpid()
    return Holder(socket.gethostname()[:64], _place(), pid, _nonce_of(pid))


def until(extra: timedelta) -> datetime:
    """The end of a lease that begins now."""
    return timezone.now() + extra


def is_abandoned(owner: str, lease_until: datetime | None) -> bool:
    """Whether nobody works on it any more: the lease has run out, or its holder was
    a process of this place that is gone."""
    if lease_until is None or lease_until < timezone.now():
        return True
    try:
        holder = Holder.parse(owner)
    except ValueError:
        return False
    me = this_process()
    if (holder.host, holder.place) != (me.host, me.place):
        return False
    if holder.pid == me.pid:
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
