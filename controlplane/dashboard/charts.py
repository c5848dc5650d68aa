"""The charts of the statistics page, out of buckets and moments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count

from django.utils.safestring import SafeString, mark_safe

from controlplane.dashboard.drawing import Frame, Line, Mark, Scale, draw
from controlplane.dashboard.moments import Moment
from controlplane.dashboard.templatetags.dashboard import compact
from controlplane.statistics.series import Bucket

_LABEL_WIDTH = 6
_FIGURE_SPACE = "\u2007"


class Size(StrEnum):
    """For what width a chart is drawn: text stays as large as it is on any of them."""

    WIDE = "wide"
    NARROW = "narrow"


_PIXELS = {Size.WIDE: (1120, 250, 9), Size.NARROW: (370, 230, 5)}


@dataclass(frozen=True)
class Chart:
    """One chart in every size. `names` are those of its lines, in the order of their
    colours."""

    title: str
    names: Sequence[str]
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


def charts_of(buckets: Sequence[Bucket], moments: Sequence[Numbered]) -> list[Chart]:
    """Reuse rate, and chunks in each bucket, one above the other on the same axis of time.
    `buckets` is not empty."""
    most = max(bucket.total_chunks or 0 for bucket in buckets)
    return [
        _chart(
            "Reuse rate",
            Scale(100.0, lambda percent: _padded(f"{percent:.0f} %")),
            [Line("reuse rate", _steps(buckets, _reuse_percent))],
            (buckets, moments),
        ),
        _chart(
            "Chunks",
            Scale(float(_round_up(most)), lambda chunks: _padded(compact(round(chunks)))),
            [
                Line("all that were looked up", _steps(buckets, lambda b: b.total_chunks)),
                Line("seen for the first time", _steps(buckets, lambda b: b.unique_chunks)),
            ],
            (buckets, moments),
        ),
    ]


def _chart(
    title: str,
    scale: Scale,
    lines: Sequence[Line],
    over: tuple[Sequence[Bucket], Sequence[Numbered]],
) -> Chart:
    buckets, moments = over
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
    return Chart(title, [line.name for line in lines], drawings)


def _steps(
    buckets: Sequence[Bucket], value_of: Callable[[Bucket], float | None]
) -> list[tuple[float, float | None]]:
    """Each bucket level from its start to its end: what is known of it is one number. The
    line is interrupted where nothing is known, and where counts began anew."""
    corners: list[tuple[float, float | None]] = []
    for bucket in buckets:
        start, end, value = bucket.start.timestamp(), bucket.end.timestamp(), value_of(bucket)
        if value is None or bucket.begun:
            corners.append((start, None))
        if value is not None:
            corners += [(start, value), (end, value)]
    return corners


def _reuse_percent(bucket: Bucket) -> float | None:
    return None if bucket.reuse_rate is None else 100 * bucket.reuse_rate


def _round_up(most: int) -> int:
    """The next number that a quarter of reads well: 4, 8, 20, 40, and so on."""
    sizes = (step * int(10**power) for power in count() for step in (4, 8, 20))
    return next(size for size in sizes if size >= most)


def _padded(text: str) -> str:
    """As wide as any other, so that the charts begin at the same place."""
    return text.rjust(_LABEL_WIDTH, _FIGURE_SPACE)
