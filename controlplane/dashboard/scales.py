"""The scales of charts: from 0 to a number of which a quarter reads well."""

from collections.abc import Iterator
from itertools import count

from controlplane.dashboard.charts import padded
from controlplane.dashboard.drawing import Scale
from controlplane.dashboard.templatetags.dashboard import bytes_size, compact

_STEPS = (4, 8, 20)
_SIZES = (1, 2, 4, 8, 20, 40, 80, 200, 400, 800)
_KIB = 1024


def percent_scale() -> Scale:
    """To 100 %."""
    return Scale(100.0, lambda percent: padded(f"{percent:.0f} %"))


def count_scale(most: int) -> Scale:
    """To `most` or a little more, of anything that is counted."""
    tops = (step * int(10**power) for power in count() for step in _STEPS)
    top = next(top for top in tops if top >= most)
    return Scale(float(top), lambda number: padded(compact(round(number))))


def bytes_scale(most: int) -> Scale:
    """To `most` bytes or a little more."""
    top = next(top for top in _round_sizes() if top >= most)
    return Scale(float(top), lambda size: padded(bytes_size(round(size)).replace(".0 ", " ")))


def _round_sizes() -> Iterator[int]:
    """1, 2, 4, 8, 20, 40 and so on to 800 of each unit: the quarters of the first two are of
    the unit below."""
    for unit in count(1):
        yield from (step * _KIB**unit for step in _SIZES)
