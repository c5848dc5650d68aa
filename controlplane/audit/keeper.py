"""What the log needs besides entries, for as long as a process runs: signed heads, the
number of denials that were left out, and somebody who forwards."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from django.conf import settings
from django.db import DatabaseError, connections

from controlplane.audit.forwarding.forwarder import forwarders
from controlplane.audit.heads import HeadWriter, head_writer
from controlplane.audit.services import record_left_out

logger = logging.getLogger(__name__)
_STOP_SECONDS = 5.0


class AuditKeeper:
    """Starts and stops with a process; at the end it tells what is still counted, and
    signs the last head."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._begin("audit_heads", self._tell_and_sign)
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

    def _tell_and_sign(self) -> None:
        writer = head_writer()
        while not self._stopping.wait(settings.KVPLANE_AUDIT_HEAD_SECONDS):
            _tell_and_sign(writer)
        _tell_and_sign(writer)
        connections.close_all()


def _tell_and_sign(writer: HeadWriter) -> None:
    try:
        record_left_out()
        writer.write()
    except (OSError, DatabaseError):
        logger.exception("the head of the audit log could not be signed and written")
        connections.close_all()
