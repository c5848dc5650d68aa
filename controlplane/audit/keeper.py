"""What the log needs besides entries, for as long as a process runs: signed heads, the
number of denials that were left out, and somebody who forwards."""

import logging
import threading
from collections.abc import Callable
from functools import cached_property, partial

from django.conf import settings
from django.db import connections

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

    @cached_property
    def _writer(self) -> HeadWriter:
        return head_writer()

    def _tell_and_sign(self) -> None:
        while not self._stopping.wait(settings.KVPLANE_AUDIT_HEAD_SECONDS):
            self._tell_and_sign_once()
        self._tell_and_sign_once()
        connections.close_all()

    def _tell_and_sign_once(self) -> None:
        _try("the number of denials left out could not be recorded", record_left_out)
        _try(
            "the head of the audit log could not be signed and written",
            lambda: self._writer.write(),
        )


def _try(otherwise: str, work: Callable[[], object]) -> None:
    """Whatever fails is logged, so that the thread goes on."""
    try:
        work()
    except Exception:
        # Nobody starts this thread again: without it heads are signed no more.
        logger.exception(otherwise)
        connections.close_all()
