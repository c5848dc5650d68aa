"""Lines over time with moments marked on them, as SVG without scripts and styles: those of
the page apply, and its content security policy holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pygal import XY
from pygal.etree import etree
from pygal.style import Style

LABEL_PX = 12
_CHARACTER_PX = 6.6
_ROW_PX = 15
_ROWS = 3
_ROOM = 6
_INVISIBLE = ("defs", "title")


@dataclass(frozen=True)
class Line:
    """A named line: corners as Unix time and value; None: the line is interrupted."""

    name: str
    corners: Sequence[tuple[float, float | None]]


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
    """How many moments are named below the axis."""


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
        margin_right=18,
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
    """A chart with upright lines at moments."""

    def __init__(self, marks: Sequence[Mark], **config: Any) -> None:
        super().__init__(**config)
        self._marks = sorted(marks, key=lambda mark: mark.at)

    def _plot(self) -> None:
        # Below the lines of values.
        layer = self.svg.node(self.nodes["plot"], class_="marks")
        ends = [float("-inf")] * _ROWS
        for mark in self._marks:
            self._draw_mark(layer, mark, ends)
        super()._plot()

    def _draw_mark(self, layer: Any, mark: Mark, ends: list[float]) -> None:
        """`ends` has for each row above the chart where its last text ends."""
        x = self.view.x(mark.at)
        parent = layer
        if mark.href:
            # For the mouse; the table below leads there with the keyboard.
            parent = etree.SubElement(layer, "a", {"href": mark.href, "tabindex": "-1"})
        group = self.svg.node(parent, class_=f"mark mark-{mark.tone}")
        self.svg.node(group, "title").text = f"{mark.number}: {mark.label}"
        for text in (f"{mark.number} {mark.label}", str(mark.number)):
            width = len(text) * _CHARACTER_PX
            left = min(x - 3, self.view.width + 12 - width)
            row = next((row for row, end in enumerate(ends) if end + _ROOM < left), None)
            if row is not None:
                ends[row] = left + width
                y = -_ROOM - row * _ROW_PX
                self.svg.node(group, "path", d=f"M{x:.1f} {y + 2} V{self.view.height:.1f}")
                self.svg.node(group, "text", x=f"{left:.1f}", y=y).text = text
                return
        self.svg.node(group, "path", d=f"M{x:.1f} 0 V{self.view.height:.1f}")


def _ticks(frame: Frame) -> list[float]:
    start, end = frame.start.timestamp(), frame.end.timestamp()
    return [start + (end - start) * number / frame.ticks for number in range(frame.ticks + 1)]


def _moment(at: float, length_s: float) -> str:
    """As short as it can be told apart."""
    moment = datetime.fromtimestamp(at, UTC)
    if length_s <= 86_400:
        return moment.strftime("%H:%M")
    return moment.strftime("%m-%d %H:%M" if length_s <= 8 * 86_400 else "%m-%d")


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
