"""Requests that may come again, because somebody clicked twice or an answer was lost: the
same key by the same actor is the same operation."""

import hashlib
import json
from dataclasses import dataclass

from controlplane.audit.actors import Actor
from controlplane.operations.models import Operation
from engine.contract import ContractError


class KeyReused(ContractError):
    """An idempotency key came back with another request."""

    def __init__(self, key: str, operation: Operation) -> None:
        super().__init__(
            409,
            "Idempotency key reused",
            f"The Idempotency-Key '{key}' was sent before with another request, operation "
            f"{operation.pk}; send a new key.",
            {"operation": str(operation.pk)},
        )


class SentBefore(ContractError):
    """The same request came again, and is not made a second time."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(
            409,
            "Sent before",
            f"This was sent before as operation {operation.pk}, which is {operation.state}; it "
            "is not made again.",
            {"operation": str(operation.pk)},
        )
        self.operation = operation


@dataclass(frozen=True)
class Once:
    """The key of a request, "" for none, and what tells it from another request."""

    key: str = ""
    fingerprint: str = ""

    def known(self, actor: Actor) -> Operation | None:
        """The operation that it has become already; None: none yet. Raises KeyReused."""
        if not self.key:
            return None
        known = Operation.objects.filter(actor_ref=actor.ref, idempotency_key=self.key).first()
        if known is not None and known.fingerprint != self.fingerprint:
            raise KeyReused(self.key, known)
        return known

    def check(self, actor: Actor) -> None:
        """Raises SentBefore and KeyReused."""
        if (known := self.known(actor)) is not None:
            raise SentBefore(known)


AS_OFTEN_AS_SENT = Once()


def fingerprint(*asked: object) -> str:
    """SHA-256, hexadecimal, of everything that was asked for, as JSON."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
