"""The numbers that charts are drawn from, as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.dashboard.measured import Measured, Step
from controlplane.dashboard.templatetags.dashboard import bytes_size, grouped, percent
from controlplane.dashboard.tier_charts import TOKENS, tier_names
from controlplane.statistics.tier_series import TierUse

_UNKNOWN = "—"


@dataclass(frozen=True)
class Column:
    """A column of numbers, and how it writes what a step has of it."""

    title: str
    text_of: Callable[[Step], str]


@dataclass(frozen=True)
class Row:
    """What is known of one step, column by column."""

    start: datetime
    cells: Sequence[str]


@dataclass(frozen=True)
class Numbers:
    """A table, newest step first; steps of which nothing is known are left out."""

    titles: Sequence[str]
    rows: Sequence[Row]


def numbers_of(measured: Measured, columns: Sequence[Column]) -> Numbers:
    """What the columns say of each step."""
    rows = [
        Row(step.start, [column.text_of(step) for column in columns]) for step in measured.steps()
    ]
    return Numbers([column.title for column in columns], rows)


def chunk_columns() -> list[Column]:
    """Chunks that were counted."""
    return [
        Column("Reuse rate", lambda step: _rate(step.chunks.reuse_rate)),
        Column("Chunks", lambda step: _number(step.chunks.total_chunks)),
        Column("Unique", lambda step: _number(step.chunks.unique_chunks)),
    ]


def hit_rate_columns(measured: Measured) -> list[Column]:
    """The hit rate of each tier, and of how many tokens."""
    names = tier_names(measured.tiers)
    return [Column(f"{name}: hit rate", _of_tier(name, _hits)) for name in names]


def level_columns(measured: Measured) -> list[Column]:
    """What was in each tier."""
    names = tier_names(measured.tiers)
    return [Column(f"{name}: used", _of_tier(name, _used)) for name in names]


def token_columns() -> list[Column]:
    """Tokens of all tiers together."""
    return [Column(f"Tokens {kind.name}", _tokens(count)) for count, kind in TOKENS.items()]


def _of_tier(name: str, write: Callable[[TierUse], str]) -> Callable[[Step], str]:
    def text(step: Step) -> str:
        use = (step.tiers.tiers or {}).get(name)
        return _UNKNOWN if use is None else write(use)

    return text


def _tokens(count: str) -> Callable[[Step], str]:
    return lambda step: _number(getattr(step.tiers, count))


def _hits(use: TierUse) -> str:
    if use.hit_rate is None:
        return _UNKNOWN
    return f"{percent(use.hit_rate)} of {grouped(use.looked_up_tokens)}"


def _used(use: TierUse) -> str:
    return _UNKNOWN if use.told_bytes is None else bytes_size(use.told_bytes)


def _rate(rate: float | None) -> str:
    return _UNKNOWN if rate is None else percent(rate)


def _number(number: int | None) -> str:
    return _UNKNOWN if number is None else grouped(number)
