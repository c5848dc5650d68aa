"""Forwarding: the log itself is the queue, and a cursor says how far it was delivered.

Entries are delivered in order and at least once. Nobody who writes waits for a
receiver: forwarders read what is committed, in threads of their own. One process at
a time holds a receiver; another takes over when it has not been heard of.
"""

import logging
import os
import random
import secrets
import socket
import threading
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections
from django.db.models import Q
from django.utils import timezone

from controlplane.audit import turns
from controlplane.audit.events import latest_cursor
from controlplane.audit.forwarding.delivery import Delivery, DeliveryFailed
from controlplane.audit.forwarding.syslog import SyslogDelivery
from controlplane.audit.forwarding.webhook import WebhookDelivery
from controlplane.audit.models import AuditEntry, ForwardingCursor

logger = logging.getLogger(__name__)
WEBHOOK, SYSLOG = "webhook", "syslog"
_AT_ONCE = 100
_LEASE = timedelta(seconds=60)
_MAX_PAUSE_S = 300.0
_PAUSE_AFTER_FAULT_S = 5.0


class Forwarder:
    """Forwards to one receiver, for as long as run() runs."""

    def __init__(self, name: str, delivery: Delivery) -> None:
        self.name = name
        self._delivery = delivery
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def run(self, stopping: threading.Event) -> None:
        """Go on until `stopping` is set, whatever fails: it is logged, and tried again."""
        pause = 0.0
        while not stopping.wait(pause):
            try:
                pause = self._go_on()
            except Exception:
                # Nobody starts this thread again: without it nothing is forwarded.
                logger.exception("forwarding to %s failed and will be tried again", self.name)
                close_old_connections()
                pause = _PAUSE_AFTER_FAULT_S
        self._delivery.close()
        self._let_go()
        connections.close_all()

    def _go_on(self) -> float:
        """Deliver what there is; seconds to wait before the next time."""
        cursor = self._hold()
        if cursor is None:
            return float(settings.KVPLANE_AUDIT_FORWARD_SECONDS)
        entries = list(AuditEntry.objects.filter(pk__gt=cursor.last_id).order_by("pk")[:_AT_ONCE])
        if not entries:
            return float(settings.KVPLANE_AUDIT_FORWARD_SECONDS)
        turns.settle()
        try:
            count = self._delivery.deliver(entries)
        except DeliveryFailed as error:
            return self._note_failure(cursor, error)
        self._note_success(cursor, entries[count - 1].pk)
        return 0.0

    def _hold(self) -> ForwardingCursor | None:
        """The cursor, if it is ours to move; it begins with what comes after now."""
        ForwardingCursor.objects.get_or_create(
            name=self.name, defaults={"last_id": latest_cursor()}
        )
        now = timezone.now()
        free = Q(holder=self._holder) | Q(holder="") | Q(held_until__lt=now)
        mine = ForwardingCursor.objects.filter(free, name=self.name)
        if not mine.update(holder=self._holder, held_until=now + _LEASE):
            return None
        return ForwardingCursor.objects.get(name=self.name)

    def _note_success(self, cursor: ForwardingCursor, last_id: int) -> None:
        if cursor.attempts:
            logger.info("forwarding to %s goes on", self.name)
        self._move(last_id=last_id, delivered_at=timezone.now(), attempts=0, last_error="")

    def _note_failure(self, cursor: ForwardingCursor, error: DeliveryFailed) -> float:
        if not cursor.attempts:
            logger.error("forwarding to %s waits: %s", self.name, error)
        attempts = min(cursor.attempts + 1, 30)
        self._move(attempts=attempts, last_error=str(error)[:500])
        longest: float = min(_MAX_PAUSE_S, settings.KVPLANE_AUDIT_FORWARD_SECONDS * 2**attempts)
        # Not everybody at once when a receiver is back.
        return longest * random.uniform(0.5, 1.0)  # noqa: S311

    def _move(self, **values: object) -> None:
        # Nobody else's cursor: whoever took over goes on from where that stands.
        ForwardingCursor.objects.filter(name=self.name, holder=self._holder).update(**values)

    def _let_go(self) -> None:
        try:
            self._move(holder="", held_until=None)
        except DatabaseError:
            logger.warning("the lease of %s stays until it runs out", self.name)


def forwarders() -> list[Forwarder]:
    """One for each receiver that the settings name."""
    found: list[Forwarder] = []
    if settings.KVPLANE_AUDIT_WEBHOOK is not None:
        found.append(Forwarder(WEBHOOK, WebhookDelivery(settings.KVPLANE_AUDIT_WEBHOOK)))
    if settings.KVPLANE_AUDIT_SYSLOG is not None:
        found.append(Forwarder(SYSLOG, SyslogDelivery(settings.KVPLANE_AUDIT_SYSLOG)))
    return found


def forwarded_up_to() -> int | None:
    """The number up to which every receiver that the settings name has entries; None if
    they name none."""
    names = {
        WEBHOOK: settings.KVPLANE_AUDIT_WEBHOOK,
        SYSLOG: settings.KVPLANE_AUDIT_SYSLOG,
    }
    wanted = [name for name, receiver in names.items() if receiver is not None]
    return _smallest(
        ForwardingCursor.objects.filter(name__in=wanted).values_list("last_id", flat=True)
    )


def _smallest(numbers: Iterable[int]) -> int | None:
    return min(numbers, default=None)
