"""Verifying the log in a thread of this process, for a page that cannot wait for it."""

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial

from django.utils import timezone

from controlplane.audit.actors import Actor
from controlplane.audit.verifying import verify_on_record
from controlplane.background import run_and_wait


@dataclass(frozen=True)
class Progress:
    """How far it has come. `is_broken` if the last try could not be finished."""

    is_running: bool = False
    started_at: datetime = field(default_factory=timezone.now)
    by: str = ""
    entries: int = 0
    is_broken: bool = False


class Verifier:
    """Verifies one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress = Progress()

    def progress(self) -> Progress:
        """How far it has come."""
        return self._progress

    def start(self, *, actor: Actor, request_id: str, wait_seconds: float) -> bool:
        """Begin, unless it is under way; whether it is finished after so many seconds.
        What was found is on record then."""
        with self._lock:
            if self._progress.is_running:
                return False
            self._progress = Progress(is_running=True, by=actor.name)
        work = partial(self._verify, actor, request_id)
        return run_and_wait("audit-verification", work, wait_seconds)

    def _verify(self, actor: Actor, request_id: str) -> None:
        done = False
        try:
            verify_on_record(actor=actor, request_id=request_id, progress=self._count)
            done = True
        finally:
            self._progress = replace(self._progress, is_running=False, is_broken=not done)

    def _count(self, entries: int) -> None:
        self._progress = replace(self._progress, entries=entries)


@cache
def shared_verifier() -> Verifier:
    """The one of this process."""
    return Verifier()
