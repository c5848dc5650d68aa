"""Who made a change, why, and as part of what."""

import uuid
from dataclasses import dataclass

from controlplane.audit.actors import Actor
from controlplane.audit.limits import MAX_REASON
from controlplane.audit.redaction import redact_text


@dataclass(frozen=True)
class Authorship:
    """What every record of a change says about its origin. `operation_id` is None
    for what was only noticed, not made."""

    actor: Actor
    reason: str
    request_id: str
    operation_id: uuid.UUID | None

    def fields(self) -> dict[str, object]:
        """The fields that models of history have in common, redacted."""
        return {
            "actor_kind": self.actor.kind,
            "actor_name": self.actor.name,
            "actor_ref": self.actor.ref,
            # Redacting can make it longer.
            "reason": redact_text(self.reason)[:MAX_REASON],
            "request_id": self.request_id,
            "operation_id": self.operation_id,
        }
