"""What an entry says, and how that is written down.

An entry is one JSON document in the canonical encoding of RFC 8785 (JSON
Canonicalization Scheme), so that what is authenticated is exactly what is stored.
The database computes every column that can be searched from that document; there is
no second copy that could say something else.
"""

import hashlib
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rfc8785

from controlplane.audit.actors import Actor
from controlplane.audit.difference import Diff
from controlplane.audit.limits import MAX_REASON
from controlplane.audit.redaction import redact, redact_text

MAX_PART_BYTES = 64 << 10
"""More than that of a request, an answer, a state before or after, or a difference is
left out; its length and SHA-256 digest stand in its place."""
_AT = "at"
_MAX_INTEGER = (1 << 53) - 1  # RFC 8785, appendix D: what every reader takes for the same number.


@dataclass(frozen=True)
class Content:
    """What happened, before it has a place in the log. Times are UTC, durations are in
    milliseconds. `before` and `after` are None where nothing has a state."""

    stage: str
    action: str
    actor: Actor
    request_id: str
    operation_id: uuid.UUID | None
    target: str
    agent: str
    engine: str
    reason: str
    request: Mapping[str, object]
    answer: object
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None
    diff: Diff | None
    outcome: str
    status: int | None
    duration_ms: float | None

    def document(self) -> dict[str, Any]:
        """The document but for its moment, redacted, without what canonical JSON cannot
        hold."""
        return {
            "stage": str(self.stage),
            "action": self.action,
            "actor_kind": str(self.actor.kind),
            "actor_name": redact_text(self.actor.name),
            "actor_ref": self.actor.ref,
            "on_behalf_of": redact_text(self.actor.on_behalf_of),
            "source_address": redact_text(self.actor.source_address),
            "user_agent": redact_text(self.actor.user_agent),
            "request_id": redact_text(self.request_id),
            "operation_id": None if self.operation_id is None else str(self.operation_id),
            "target": self.target,
            "agent": self.agent,
            "engine": self.engine,
            # Redacting can make it longer.
            "reason": redact_text(self.reason)[:MAX_REASON],
            "request": _part(dict(self.request)),
            "answer": _part(self.answer),
            "before": _part(self.before),
            "after": _part(self.after),
            "diff": _part(self.diff),
            "outcome": self.outcome,
            "status": self.status,
            "duration_ms": None if self.duration_ms is None else round(self.duration_ms, 3),
        }


@dataclass(frozen=True)
class Encoded:
    """A document in canonical JSON, UTF-8, as long as it has no moment: that is known
    only when it is the entry's turn, and then others wait."""

    _before: bytes
    _after: bytes

    def at(self, text: str) -> bytes:
        """The whole document, with that moment."""
        return b'%b,"%b":"%b",%b' % (self._before, _AT.encode(), text.encode(), self._after)


def encode(document: Mapping[str, Any]) -> Encoded:
    """The document, without its moment, encoded."""
    # Canonical JSON has its keys in order, and all of these are ASCII.
    before = rfc8785.dumps({key: document[key] for key in document if key < _AT})
    after = rfc8785.dumps({key: document[key] for key in document if key > _AT})
    return Encoded(before[:-1], after[1:])


def moment(at: datetime) -> str:
    """RFC 3339, UTC, always with six digits of a second: 27 characters."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _part(value: object) -> Any:
    shown = fit(redact(value))
    encoded = rfc8785.dumps(shown)
    if len(encoded) <= MAX_PART_BYTES:
        return shown
    return {
        "left_out": f"{len(encoded)} bytes",
        "sha256": hashlib.sha256(encoded).hexdigest(),
    }


def fit(value: object) -> Any:
    """The value with numbers that canonical JSON can hold; others as text."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MAX_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): fit(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fit(item) for item in value]
    return str(value)
