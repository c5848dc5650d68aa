"""Charts: lines over the buckets of a series, with the moments of what was done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from django.utils.safestring import SafeString, mark_safe

from controlplane.dashboard.drawing import Frame, Line, Mark, Scale, draw
from controlplane.dashboard.moments import Moment

_LABEL_WIDTH = 7
_FIGURE_SPACE = "\u2007"


class Size(StrEnum):
    """For what width a chart is drawn: text stays as large as it is on any of them."""

    WIDE = "wide"
    NARROW = "narrow"


_PIXELS = {Size.WIDE: (1120, 250, 9), Size.NARROW: (370, 230, 5)}


class Stretch(Protocol):
    """A bucket of any series: a stretch of time of which something may be known."""

    @property
    def start(self) -> datetime: ...

    @property
    def end(self) -> datetime: ...

    @property
    def samples(self) -> int: ...

    @property
    def begun(self) -> tuple[datetime, ...]: ...


AnyBucket = TypeVar("AnyBucket", bound=Stretch)


@dataclass(frozen=True)
class Key:
    """What a line of the legend says: the name of a line, and the number of its colour."""

    name: str
    color: int


@dataclass(frozen=True)
class Chart:
    """One chart in every size."""

    title: str
    keys: Sequence[Key]
    drawings: Sequence[tuple[Size, SafeString]]


@dataclass(frozen=True)
class Numbered:
    """A moment under the number that its mark has."""

    number: int
    moment: Moment


def numbered(moments: Sequence[Moment]) -> list[Numbered]:
    """The moments with numbers from 1, oldest first."""
    in_order = sorted(moments, key=lambda moment: moment.at)
    return [Numbered(number, moment) for number, moment in enumerate(in_order, start=1)]


def chart_over(
    buckets: Sequence[Stretch],
    moments: Sequence[Numbered],
    title: str,
    scale: Scale,
    lines: Sequence[Line],
) -> Chart:
    """A chart from the first bucket to the last; `buckets` is not empty."""
    marks = [
        Mark(
            row.moment.at.timestamp(),
            row.number,
            row.moment.label,
            row.moment.kind.value,
            row.moment.href,
        )
        for row in moments
    ]
    drawings = []
    for size, (width, height, ticks) in _PIXELS.items():
        frame = Frame(buckets[0].start, buckets[-1].end, width, height, ticks)
        # Everything in it was escaped when it became an element.
        drawings.append((size, mark_safe(draw(frame, scale, lines, marks))))  # noqa: S308
    return Chart(title, [Key(line.name, line.color) for line in lines], drawings)


def line_over(
    name: str,
    color: int,
    buckets: Sequence[AnyBucket],
    value_of: Callable[[AnyBucket], float | None],
) -> Line:
    """Each bucket level from its start to its end: what is known of it is one number. The
    line is interrupted where nothing is known, and where counts began anew."""
    corners: list[tuple[float, float | None]] = []
    for bucket in buckets:
        start, end, value = bucket.start.timestamp(), bucket.end.timestamp(), value_of(bucket)
        if value is None or bucket.begun:
            corners.append((start, None))
        if value is not None:
            corners += [(start, value), (end, value)]
    return Line(name, corners, color)


def padded(text: str) -> str:
    """As wide as any other label of a value, so that the charts begin at the same place."""
    return text.rjust(_LABEL_WIDTH, _FIGURE_SPACE)
