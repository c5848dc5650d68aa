"""Reading what an agent says about what it counted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.statistics.errors import InvalidSample

_MAX_COUNT = (1 << 63) - 1
_MAX_UNIX_TIME = 253_370_764_800.0
"""The year 9999."""
_MAX_COUNTERS = 256
_TEXT = re.compile(r"[\x20-\x7e]{0,64}", re.ASCII)
_NAME = re.compile(r"[\x21-\x7e]+", re.ASCII)
_MAX_NAME = 128


@dataclass(frozen=True)
class Counted:
    """The counts of one answer. `reported_at` is Unix time by the agent's clock."""

    enabled: bool
    strategy: str
    total_requests: int
    total_chunks: int
    unique_chunks: int
    duplicate_chunks: int
    reuse_rate: float
    reported_at: float


def read_status(status: Mapping[str, object]) -> Counted:
    """The counts in an answer of `/chunk_statistics/status`. Raises InvalidSample.

    An LMCache process says less than the contract has; what can be derived is derived.
    """
    enabled = status.get("is_collecting")
    if not isinstance(enabled, bool):
        raise InvalidSample("is_collecting", "must be true or false")
    total = read_count(status, "total_chunks")
    unique = read_count(status, "unique_chunks")
    if unique > total:
        raise InvalidSample("unique_chunks", f"is {unique}, more than total_chunks, {total}")
    duplicate = read_count({"duplicate_chunks": total - unique, **status}, "duplicate_chunks")
    if unique + duplicate != total:
        raise InvalidSample(
            "total_chunks",
            f"is {total}, not unique_chunks + duplicate_chunks = {unique + duplicate}",
        )
    derived_rate = duplicate / total if total else 0.0
    return Counted(
        enabled=enabled,
        strategy=read_text("strategy", status.get("strategy", "")),
        total_requests=read_count({"total_requests": 0, **status}, "total_requests"),
        total_chunks=total,
        unique_chunks=unique,
        duplicate_chunks=duplicate,
        reuse_rate=_number("reuse_rate", status.get("reuse_rate", derived_rate), 1.0),
        reported_at=_number("timestamp", status.get("timestamp"), _MAX_UNIX_TIME),
    )


def read_counters(counters: Mapping[str, object]) -> dict[str, float]:
    """The agent's counters by name. Raises InvalidSample."""
    if len(counters) > _MAX_COUNTERS:
        raise InvalidSample(
            "counters", f"has {len(counters)} names; at most {_MAX_COUNTERS} are kept"
        )
    read: dict[str, float] = {}
    for name, value in counters.items():
        known = read_name("counters", name, _MAX_NAME)
        read[known] = _number(f"counters.{known}", value, float(_MAX_COUNT))
    return read


def read_name(field: str, name: str, longest: int) -> str:
    """The name of something in `field`. Raises InvalidSample."""
    if len(name) > longest or not _NAME.fullmatch(name):
        raise InvalidSample(field, f"has a name that is not 1 to {longest} visible characters")
    return name


def read_text(field: str, value: object) -> str:
    """A short string of printable ASCII. Raises InvalidSample."""
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        raise InvalidSample(field, "must be a string of at most 64 printable ASCII characters")
    return value


def read_count(counts: Mapping[str, object], name: str, place: str = "") -> int:
    """A count by its name; `place` stands before the name where it is told of. Raises
    InvalidSample."""
    value = counts.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise InvalidSample(f"{place}{name}", f"must be an integer of 0 to {_MAX_COUNT}")
    return value


def _number(field: str, value: object, maximum: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidSample(field, "must be a number")
    # NaN is not within bounds either.
    if not 0 <= value <= maximum:
        raise InvalidSample(field, f"must be a number of 0 to {maximum:g}")
    return value
