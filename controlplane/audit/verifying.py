"""Verifying the log for somebody, on the record; and what came of it last."""

import logging

from django.db import DatabaseError

from controlplane.audit import services
from controlplane.audit.actors import Actor
from controlplane.audit.heads import heads_directory
from controlplane.audit.keys import key_ring
from controlplane.audit.models import AuditEntry
from controlplane.audit.reports import Report
from controlplane.audit.verification import Progress, verify

logger = logging.getLogger(__name__)
ACTION = "audit.verify"


def verify_on_record(
    *, actor: Actor, request_id: str, progress: Progress = lambda entries: None
) -> Report:
    """Verify the whole log and note what came of it. Raises OSError and
    django.db.DatabaseError."""
    report = verify(key_ring(), heads_directory(), progress)
    try:
        services.record(
            action=ACTION,
            target="audit",
            actor=actor,
            request_id=request_id,
            answer=report.as_dict(),
            outcome="succeeded" if report.ok else "failed",
        )
    except DatabaseError:
        if report.ok:
            raise
        # A log that is broken at its end cannot be gone on with; that must be told.
        logger.exception("that the log is not what was written could not be put on record")
    return report


def latest_verification() -> AuditEntry | None:
    """The entry that tells what was found last; None: nobody has looked yet."""
    return AuditEntry.objects.filter(action=ACTION).order_by("-id").first()
