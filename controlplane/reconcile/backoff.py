"""How long the control loop waits before it tries again what did not help."""

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

_LONGEST_S = 300.0
_DOUBLED_AT_MOST = 60


def next_attempt_at(attempts: int) -> datetime:
    """The moment of the next attempt after so many: each waits twice as long as the one
    before, five minutes at most."""
    seconds = settings.KVPLANE_POLL_SECONDS * 2.0 ** min(attempts, _DOUBLED_AT_MOST)
    return timezone.now() + timedelta(seconds=min(seconds, _LONGEST_S))
