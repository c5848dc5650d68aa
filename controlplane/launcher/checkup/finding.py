"""What a check finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How things stand."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One line: `what` is so, and what to do unless all is well."""

    area: str
    level: Level
    what: str
    remedy: str = ""


def ok(area: str, what: str) -> Finding:
    """All is well."""
    return Finding(area, Level.OK, what)


def warn(area: str, what: str, remedy: str) -> Finding:
    """It works, and should be looked after."""
    return Finding(area, Level.WARN, what, remedy)


def bad(area: str, what: str, remedy: str) -> Finding:
    """It does not work, or does not protect."""
    return Finding(area, Level.BAD, what, remedy)


def worst(findings: Iterable[Finding]) -> Level:
    """The level of all of them together."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.BAD, Level.WARN) if level in levels), Level.OK)
