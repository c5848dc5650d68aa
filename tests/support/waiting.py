"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
DEADLINE_SECONDS = 30.0
_LOOK_SECONDS = 0.005


def eventually(
    look: Callable[[], Found],
    otherwise: str = "it never came true",
    seconds: float = DEADLINE_SECONDS,
) -> Found:
    """What `look` finds once that is something true. Fails after so many seconds, and
    says what is wrong then."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(_LOOK_SECONDS)
    return found
