"""Whether the audit log is what was written: the badge, and the button to look now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest

from controlplane.accounts.models import UserRole
from controlplane.audit.background import Progress, shared_verifier
from controlplane.audit.models import AuditEntry
from controlplane.audit.verifying import latest_verification
from controlplane.rest.admin import has_role


@dataclass(frozen=True)
class Badge:
    """What was found when somebody looked last. `tone` is good, bad or wary; `entry` is
    0 if nobody has looked yet."""

    tone: str
    text: str
    entry: int = 0
    at: datetime | None = None
    by: str = ""
    last: int = 0
    entries: int = 0


def badge() -> Badge:
    """The badge as it is now; two queries at most."""
    latest = latest_verification()
    if latest is None:
        return Badge("wary", "The log was never verified.")
    found: dict[str, Any] = latest.answer
    problem = found.get("problem")
    return Badge(
        tone="bad" if problem else "good",
        text=str(problem["message"]) if problem else "The chain is unbroken.",
        entry=latest.pk,
        at=latest.created_at,
        by=latest.actor_name,
        last=int(found["last"]),
        entries=int(found["entries"]),
    )


def chain_context(request: HttpRequest) -> dict[str, object]:
    """What the template of the badge needs."""
    shown = badge()
    newest = AuditEntry.objects.order_by("-id").values_list("pk", flat=True).first() or 0
    progress: Progress = shared_verifier().progress()
    return {
        "chain": shown,
        "chain_since": max(0, newest - shown.last) if shown.entry else newest,
        "chain_progress": progress,
        "may_verify": has_role(request, UserRole.ADMIN),
    }
