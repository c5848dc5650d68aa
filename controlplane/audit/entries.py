"""What an entry says, and how that is written down.

An entry is one JSON document in the canonical encoding of RFC 8785 (JSON
Canonicalization Scheme), so that what is authenticated is exactly what is stored.
The database computes every column that can be searched from that document; there is
no second copy that could say something else.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controlplane.audit import canonical
from controlplane.audit.actors import Actor
from controlplane.audit.difference import Diff
from controlplane.audit.limits import MAX_REASON
from controlplane.audit.redaction import redact, redact_text

MAX_PART_BYTES = 64 << 10
"""More than that of a request, an answer, a state before or after, or a difference is
left out; its length and SHA-256 digest stand in its place."""
_AT = "at"
Scalar = str | int | float | None
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

    def scalars(self) -> dict[str, Scalar]:
        """What is a text, a number or nothing, redacted, by its name in the document."""
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
            "outcome": self.outcome,
            "status": self.status,
            "duration_ms": None if self.duration_ms is None else fit(round(self.duration_ms, 3)),
        }

    def parts(self) -> dict[str, object]:
        """What can be of any form, not redacted yet, by its name in the document."""
        return {
            "request": self.request,
            "answer": self.answer,
            "before": self.before,
            "after": self.after,
            "diff": self.diff,
        }


@dataclass(frozen=True)
class Encoded:
    """A document in canonical JSON, UTF-8, as long as it has no moment: that is known
    only when it is the entry's turn, and then others wait."""

    _before: bytes
    _after: bytes

    @property
    def longest_half(self) -> int:
        """Bytes of what comes before the moment or of what comes after it."""
        return max(len(self._before), len(self._after))

    def at(self, text: str) -> bytes:
        """The whole document, with that moment."""
        return b'{%b,"%b":"%b",%b}' % (self._before, _AT.encode(), text.encode(), self._after)


def encode(scalars: Mapping[str, Scalar], parts: Mapping[str, object]) -> Encoded:
    """The document, without its moment. Parts are redacted and made to fit."""
    fitting = {name: None if part is None else fit(redact(part)) for name, part in parts.items()}
    encoded = _encode({**scalars, **fitting})
    if encoded.longest_half > MAX_PART_BYTES:
        return _encode({**scalars, **{name: _shorten(part) for name, part in fitting.items()}})
    return encoded


def _encode(document: Mapping[str, object]) -> Encoded:
    # Canonical JSON has its keys in order: some come before the moment, some after.
    before = {name: value for name, value in document.items() if name < _AT}
    after = {name: value for name, value in document.items() if name > _AT}
    return Encoded(_members(before), _members(after))


def _members(document: Mapping[str, object]) -> bytes:
    return canonical.dumps(document)[1:-1]


def moment(at: datetime) -> str:
    """RFC 3339, UTC, always with six digits of a second: 27 characters."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _shorten(part: object) -> object:
    encoded = canonical.dumps(part)
    if len(encoded) <= MAX_PART_BYTES:
        return part
    digest = hashlib.sha256(encoded).hexdigest()
    return {"left_out": f"{len(encoded)} bytes", "sha256": digest}


def fit(value: object) -> Any:
    """The value with numbers that canonical JSON can hold; others as text."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        # NaN is not less.
        if not abs(value) <= _MAX_INTEGER:
            return str(value)
        # A float that is whole is written like an integer.
        return int(value) if value == int(value) else value
    if isinstance(value, Mapping):
        return {str(key): fit(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fit(item) for item in value]
    return str(value)
