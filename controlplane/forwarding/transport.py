"""What the client asks of whatever carries its calls over the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class WireRequest:
    """One HTTP request: `base` is scheme, host and port, `target` the path with
    its query, sent as they stand; no `body` is None."""

    method: str
    base: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True)
class RawAnswer:
    """What came over the wire; `media_type` in lower case, without parameters, `date` as
    the Date header has it, "" without one."""

    status: int
    media_type: str
    body: bytes
    date: str = ""


class Transport(Protocol):
    """Carries requests; safe to use from many threads at once."""

    def exchange(self, request: WireRequest, seconds: float, max_bytes: int) -> RawAnswer:
        """Send the request once and read its answer, all of it within `seconds`.

        Raises NotSent, TimedOut, Lost, and TooLong for an answer of more than
        `max_bytes`.
        """
        ...


class NotSent(Exception):
    """No connection, or no request that can be sent: nobody has seen it."""


class TimedOut(Exception):
    """The time was up after the request had begun to be sent."""


class Lost(Exception):
    """The connection broke, or what came back is not HTTP."""


class TooLong(Exception):
    """The answer is longer than was allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is longer than {limit} bytes")
