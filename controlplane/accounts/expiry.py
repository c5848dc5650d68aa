"""When a token made by a command expires."""

from datetime import datetime, timedelta

from django.utils import timezone

from engine.contract import InvalidParameter

_MAX_DAYS = 36_500


def expires_in(days: int | None) -> datetime | None:
    """The moment that many days from now; None for a token that never expires.
    Raises InvalidParameter."""
    if days is None:
        return None
    if not 1 <= days <= _MAX_DAYS:
        raise InvalidParameter("days", f"--days must be between 1 and {_MAX_DAYS}.")
    return timezone.now() + timedelta(days=days)
