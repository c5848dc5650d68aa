"""The state of the audit log's chain, as the badge on every page tells it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.utils import timezone

from controlplane.audit.models import AuditEntry
from controlplane.audit.verifying import latest_verification
from controlplane.dashboard.switches import Tone

_FRESH = timedelta(days=1)


class Soundness(StrEnum):
    """What the last look at the chain found."""

    NEVER = "never"
    """Nobody has looked yet."""
    VALID = "valid"
    BROKEN = "broken"


@dataclass(frozen=True)
class ChainStatus:
    """What was found, when, by whom; `label` is what the badge says."""

    soundness: Soundness
    label: str
    entry: AuditEntry | None = None
    """The entry that tells of it; None: nobody has looked."""
    up_to: int = 0
    """The number of the last entry that was looked at."""
    message: str = ""
    """What is wrong."""
    entries: int = 0
    """How many were looked at."""

    @property
    def is_old(self) -> bool:
        """Whether the last look is so long ago that there should have been another."""
        return self.at is not None and timezone.now() - self.at > _FRESH

    @property
    def tone(self) -> Tone:
        """How the badge looks: what was valid once may not be any more."""
        if self.soundness is Soundness.BROKEN:
            return Tone.BAD
        return Tone.WARN if self.soundness is Soundness.NEVER or self.is_old else Tone.OK

    @property
    def at(self) -> datetime | None:
        """When somebody looked; None: never."""
        return None if self.entry is None else self.entry.created_at

    @property
    def by(self) -> str:
        """Who looked."""
        return "" if self.entry is None else self.entry.actor_name


def chain_status() -> ChainStatus:
    """What verifying found last. One query."""
    latest = latest_verification()
    if latest is None:
        return ChainStatus(Soundness.NEVER, "never verified")
    report = latest.answer
    up_to, entries = int(report["last"]), int(report["entries"])
    problem = report["problem"]
    if problem is None:
        return ChainStatus(
            Soundness.VALID, f"valid up to {up_to:,}", latest, up_to, entries=entries
        )
    where = "" if problem["entry"] is None else f" at entry {problem['entry']:,}"
    message = str(problem["message"])
    return ChainStatus(Soundness.BROKEN, f"BROKEN{where}", latest, up_to, message, entries)
