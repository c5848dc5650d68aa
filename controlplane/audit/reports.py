"""What verifying finds."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is wrong."""

    CHANGED = "changed"
    """An entry does not fit its mac."""
    MISSING = "missing"
    """A number is not there."""
    BROKEN = "broken"
    """An entry does not follow from the one before."""
    WRONG_KEY = "wrong_key"
    """An entry is made with another key than the chain says."""
    NO_KEY = "no_key"
    """A key is not here, so that nothing can be said."""
    CUT = "cut"
    """A signed head tells of entries that are not there."""
    REWRITTEN = "rewritten"
    """A signed head tells of another entry of that number."""
    BAD_HEAD = "bad_head"
    """A signed head cannot be read, or its signature does not fit."""
    UNGUARDED = "unguarded"
    """The database would let entries be changed."""
    BAD_ARCHIVE = "bad_archive"
    """An archive is not what was archived."""


@dataclass(frozen=True)
class Problem:
    """The first thing that is wrong; `entry` is the number of the entry concerned, None
    if it is no single one."""

    kind: Kind
    entry: int | None
    message: str


@dataclass(frozen=True)
class Report:
    """What was looked at. Numbers are 0 where there was nothing. `first` and `last` are
    the ends of the unbroken chain, `archived_up_to` the number before it, `kept` how
    many entries of before are still there, `signed_up_to` the newest signed head."""

    entries: int
    first: int
    last: int
    archived_up_to: int
    kept: int
    heads: int
    signed_up_to: int
    problem: Problem | None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {"ok": self.ok, **asdict(self)}
