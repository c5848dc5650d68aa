"""Reading the dashboard's pages, and the charts on them."""

import re


def text_of(answer) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def titles_of(answer) -> list[str]:
    """The titles of the charts, in their order, with what their legends say."""
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", answer.content.decode(), re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", caption).split()) for caption in captions]


def chart_of(answer, title: str) -> str:
    """The wide drawing of the chart with that title."""
    whole = rf'<figcaption>{title} .*?<div class="wide">(.*?)</div>'
    return re.search(whole, answer.content.decode(), re.DOTALL)[1]


def colors_of(chart: str) -> list[str]:
    """The colours of a chart's lines, in their order."""
    plot = chart.partition('class="plot overlay"')[0]
    return re.findall(r'class="series (color-\d+)"', plot)


def lines_of(chart: str) -> list[list[tuple[float, float]]]:
    """The corners of the pieces of a chart's lines."""
    paths = re.findall(r'<path d="M([^"]*)" class="line reactive nofill"', chart) or re.findall(
        r'<path class="line reactive nofill" d="M([^"]*)"', chart
    )
    numbers = [[float(n) for n in re.findall(r"-?[\d.]+", path)] for path in paths]
    return [list(zip(row[::2], row[1::2], strict=True)) for row in numbers]


def marks_at(chart: str, tone: str) -> list[float]:
    """Where the marks of a kind stand, in pixels from the left of the plot."""
    found = re.findall(
        rf'class="mark mark-{tone}"><title>[^<]*</title><path d="M([\d.]+) 0 V', chart
    )
    return [float(x) for x in found]
