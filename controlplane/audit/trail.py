"""What one HTTP request put on record, for whoever makes sure that it did."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Trail:
    """Filled while the request is answered. `reads` is the group that was read, ""
    for what is no read; `reads_also` are others that the same answer shows; `action` is
    what the call would have been recorded as."""

    entries: list[int] = field(default_factory=list)
    action: str = ""
    agent: str = ""
    engine: str = ""
    reads: str = ""
    reads_also: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()
    """Names whose values are secret besides those that sound like it."""
    told: list[object] = field(default_factory=list)
    """The document that was read, where the answer is a page about it."""


_current: ContextVar[Trail | None] = ContextVar("audit_trail", default=None)


@contextmanager
def following() -> Iterator[Trail]:
    """Everything that this thread records inside is noted in the trail."""
    trail = Trail()
    token = _current.set(trail)
    try:
        yield trail
    finally:
        _current.reset(token)


def current() -> Trail | None:
    """The trail of the request that this thread answers; None outside of one."""
    return _current.get()
