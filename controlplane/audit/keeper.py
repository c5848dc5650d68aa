"""What the log needs besides entries, for as long as a process runs: signed heads, and
somebody who forwards."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from django.conf import settings
from django.db import DatabaseError, connections

from controlplane.audit.forwarding.forwarder import forwarders
from controlplane.audit.heads import HeadWriter, head_writer

logger = logging.getLogger(__name__)
_STOP_SECONDS = 5.0


class AuditKeeper:
    """Starts and stops with a process; at the end it signs the last head."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._begin("audit_heads", self._sign_heads)
        for forwarder in forwarders():
            self._begin(f"audit_{forwarder.name}", partial(forwarder.run, self._stopping))

    def stop(self) -> None:
        """Write the head that is the last, and end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _sign_heads(self) -> None:
        writer = head_writer()
        while not self._stopping.wait(settings.KVPLANE_AUDIT_HEAD_SECONDS):
            _write(writer)
        _write(writer)
        connections.close_all()


def _write(writer: HeadWriter) -> None:
    try:
        writer.write()
    except (OSError, DatabaseError):
        logger.exception("the head of the audit log could not be signed and written")
        connections.close_all()
