"""What a forwarder needs of a receiver."""

from collections.abc import Sequence
from typing import Protocol

from controlplane.audit.models import AuditEntry


class DeliveryFailed(Exception):
    """The receiver did not take it; the message has no secrets."""


class Delivery(Protocol):
    """One receiver."""

    def deliver(self, entries: Sequence[AuditEntry]) -> int:
        """Hand over the first of the entries, in order; how many, at least one. Raises
        DeliveryFailed."""
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...
