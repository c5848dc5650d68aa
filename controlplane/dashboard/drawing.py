"""Lines over time with moments marked on them, as SVG without scripts and styles: those of
the page apply, and its content security policy holds."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pygal import XY, PluginImportFixer
from pygal.etree import etree
from pygal.style import Style

# pygal leaves a finder for its plugins, of a kind that Python warns of at every import that
# follows. None of its plugins is used.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, PluginImportFixer)]

LABEL_PX = 12
_CHARACTER_PX = 7.0
_BESIDE_PX = 3
_ROW_PX = 15
_ROWS = 3
_ROOM = 6
_MARGIN_RIGHT = 22
_HOUR = 3_600
_DAY = 24 * _HOUR
_MANY_DAYS_S = 8 * _DAY
_TICKS_S = (
    *(60, 300, 600, 900, 1_800),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 5 * _DAY, 10 * _DAY, 30 * _DAY, 60 * _DAY, 180 * _DAY),
)
_INVISIBLE = ("defs", "title")


@dataclass(frozen=True)
class Line:
    """A named line: corners as Unix time and value; None: the line is interrupted. `color`
    is the number of its colour."""

    name: str
    corners: Sequence[tuple[float, float | None]]
    color: int

    @property
    def tells_something(self) -> bool:
        """Whether there is any value."""
        return any(value is not None for _, value in self.corners)


@dataclass(frozen=True)
class Mark:
    """A moment on the axis: Unix time, a number, what it says, and where it leads."""

    at: float
    number: int
    label: str
    tone: str
    href: str


@dataclass(frozen=True)
class Frame:
    """What charts that stand one above the other share; sizes in pixels."""

    start: datetime
    end: datetime
    width: int
    height: int
    ticks: int
    """How many moments at most are named below the axis."""


@dataclass(frozen=True)
class Scale:
    """The values of a chart: from 0 to `top`, and how they are written."""

    top: float
    write: Callable[[float], str]


def draw(frame: Frame, scale: Scale, lines: Sequence[Line], marks: Sequence[Mark]) -> str:
    """An SVG element. Its colours are those of the classes `chart`, `color-0` and so on, and
    `mark-` with the tone of a mark."""
    start, end = frame.start.timestamp(), frame.end.timestamp()
    chart = _Marked(
        marks,
        [line.color for line in lines],
        width=frame.width,
        height=frame.height,
        style=Style(label_font_size=LABEL_PX, major_label_font_size=LABEL_PX),
        classes=("chart-lines",),
        js=(),
        show_legend=False,
        show_dots=False,
        allow_interruptions=True,
        margin=4,
        margin_top=_ROWS * _ROW_PX + _ROOM,
        margin_right=_MARGIN_RIGHT,
        truncate_label=-1,
        xrange=(start, end),
        range=(0, scale.top),
        x_labels=_ticks(frame),
        y_labels=[scale.top * quarter / 4 for quarter in range(5)],
        value_formatter=scale.write,
        x_value_formatter=lambda at: _moment(at, end - start),
    )
    for line in lines:
        chart.add(line.name, list(line.corners))
    # Where nothing is known the axes are drawn all the same.
    chart.add("", [(start, 0), (end, 0)], stroke=False)
    return _plain(chart.render_tree())


class _Marked(XY):
    """A chart with upright lines at moments, and the lines of values in chosen colours."""

    def __init__(self, marks: Sequence[Mark], colors: Sequence[int], **config: Any) -> None:
        super().__init__(**config)
        self._marks = sorted(marks, key=lambda mark: mark.at)
        self._colors = colors

    def _plot(self) -> None:
        # Below the lines of values; what is written above what is drawn.
        below, above = (self.svg.node(self.nodes["plot"], class_="marks") for _ in range(2))
        for mark in self._marks:
            path = f"M{self.view.x(mark.at):.1f} 0 V{self.view.height:.1f}"
            self.svg.node(_linked(below, mark), "path", d=path)
        # From the right: of two texts that would meet, that of the earlier mark is higher,
        # and the later one's line ends below it.
        begins = [float("inf")] * _ROWS
        for mark in reversed(self._marks):
            self._write(above, mark, begins)
        super()._plot()
        drawn = [node for node in self.nodes["plot"] if _is_series(node)]
        # One more than there are colours: that of the axes.
        for node, color in zip(drawn, self._colors, strict=False):
            node.set("class", f"series color-{color}")

    def _write(self, layer: Any, mark: Mark, begins: list[float]) -> None:
        """Number and label if there is room, else the number, else nothing: the line itself
        says it when it is pointed at. `begins` has where the texts of each row begin."""
        x = self.view.x(mark.at)
        for text, left in self._placings(mark, x):
            end = left + len(text) * _CHARACTER_PX
            row = next((row for row, begin in enumerate(begins) if end + _ROOM < begin), None)
            if row is not None:
                begins[row] = left
                y = -_ROOM - row * _ROW_PX
                group = _linked(layer, mark)
                self.svg.node(group, "path", d=f"M{x:.1f} {y + 2} V0")
                self.svg.node(group, "text", x=f"{left:.1f}", y=y).text = text
                return

    def _placings(self, mark: Mark, x: float) -> Iterator[tuple[str, float]]:
        """What could be written and where it would begin, the best first."""
        long = f"{mark.number} {mark.label}"
        width = len(long) * _CHARACTER_PX
        begin = x + _BESIDE_PX - width
        if x - _BESIDE_PX + width <= self.view.width + _MARGIN_RIGHT:
            yield long, x - _BESIDE_PX
        elif begin >= 0 and not any(begin < self.view.x(m.at) < x for m in self._marks):
            yield long, begin
        yield str(mark.number), x - _BESIDE_PX


def _is_series(node: Any) -> bool:
    return str(node.get("class", "")).startswith("series ")


def _linked(layer: Any, mark: Mark) -> Any:
    """A group that leads where the mark leads."""
    parent = layer
    if mark.href:
        # For the mouse; the table below leads there with the keyboard.
        parent = etree.SubElement(layer, "a", {"href": mark.href, "tabindex": "-1"})
    group = etree.SubElement(parent, "g", {"class": f"mark mark-{mark.tone}"})
    etree.SubElement(group, "title").text = f"{mark.number}: {mark.label}"
    return group


def _ticks(frame: Frame) -> list[float]:
    """Moments at full hours or days, as many as have room."""
    start, end = frame.start.timestamp(), frame.end.timestamp()
    longest = _TICKS_S[-1]
    step = next((step for step in _TICKS_S if (end - start) / step <= frame.ticks), longest)
    first = -(-start // step) * step
    return [first + step * number for number in range(int((end - first) // step) + 1)]


def _moment(at: float, length_s: float) -> str:
    """As short as it can be told apart."""
    moment = datetime.fromtimestamp(at, UTC)
    if length_s > _MANY_DAYS_S or (moment.hour, moment.minute) == (0, 0):
        return moment.strftime("%m-%d")
    return moment.strftime("%H:%M")


def _plain(root: Any) -> str:
    for child in list(root):
        if child.tag in _INVISIBLE or not isinstance(child.tag, str):
            root.remove(child)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.get("class") == "plot tooltip-overlay" or child.tag == "desc":
                parent.remove(child)
    root.attrib.pop("id", None)
    root.attrib["aria-hidden"] = "true"
    return str(etree.tostring(root, encoding="unicode"))
