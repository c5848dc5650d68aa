"""How the pages write moments, sizes and values."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from controlplane.dashboard.fleet_filter import FleetFilter
from controlplane.fleet.models import Health
from controlplane.operations.models import Operation

register = template.Library()
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_WORD_ENDS = re.compile(r"(?<=[_/])")
_KIB = 1024
_GLANCE = 160
_ON_FAILURE = {
    "stop": "nobody else is called",
    "rollback": "it is taken back",
}
_TONES = {
    "succeeded": "ok",
    "observed": "neutral",
    "unchanged": "neutral",
    "cancelled": "neutral",
    "pending": "neutral",
    "running": "info",
    "unknown": "warn",
    "partially_failed": "warn",
    "failed": "bad",
    "denied": "bad",
    "online": "ok",
    "offline": "bad",
    "left": "neutral",
    "active": "ok",
}


@register.filter
def moment(at: datetime | None) -> str:
    """A time element that says how long ago, or until when; the page keeps it right."""
    if at is None:
        return "never"
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        at.isoformat(timespec="milliseconds"),
        at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        relative(at, timezone.now()),
    )


@register.simple_tag
def narrowed(filters: FleetFilter, name: str, value: str) -> str:
    """The query of the fleet's address with one more label."""
    return filters.narrowed_by(name, value)


@register.filter
def clock(at: datetime) -> str:
    """A time element with date and time."""
    return format_html(
        '<time datetime="{}">{}</time>', at.isoformat(), at.strftime("%Y-%m-%d %H:%M:%S")
    )


def relative(at: datetime, now: datetime) -> str:
    """`3 min ago`, `in 2 h`."""
    seconds = round((at - now).total_seconds())
    amount = _length(abs(seconds))
    return f"in {amount}" if seconds > 0 else f"{amount} ago"


@register.filter
def ending(at: datetime, health: str) -> str:
    """A time element that says when a mode of an agent of that health ends by itself; the
    page keeps it right. Whether it did end, nobody knows of an agent that does not answer."""
    return format_html(
        '<time datetime="{}" title="{}" data-ending="{}">{}</time>',
        at.isoformat(timespec="milliseconds"),
        at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        health,
        _ending(at, timezone.now(), health),
    )


def _ending(at: datetime, now: datetime, health: str) -> str:
    if round((at - now).total_seconds()) > 0:
        return f"ends {relative(at, now)}"
    return "ending" if health == Health.ONLINE else f"should have ended {relative(at, now)}"


def _length(seconds: int) -> str:
    size, unit = next((step for step in _STEPS if seconds >= step[0]), (1, "s"))
    return f"{seconds // size} {unit}"


@register.filter
def bytes_size(size: int) -> str:
    """`1.5 GiB`."""
    value, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if value < _KIB or unit == _UNITS[-1]:
            break
        value /= _KIB
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


@register.filter
def grouped(number: float) -> str:
    """`12,800`, or `0.25` of what is no whole number."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.3f}".rstrip("0").rstrip(".")


@register.filter
def compact(number: int) -> str:
    """`12.8k`."""
    value, suffix = float(number), ""
    for suffix in ("", "k", "M", "G"):
        if value < 1000 or suffix == "G":
            break
        value /= 1000
    return f"{number}" if not suffix else f"{value:.1f}{suffix}"


@register.filter
def percent(rate: float) -> str:
    """0.123 as `12.3 %`."""
    return f"{100 * rate:.1f} %"


@register.filter
def tone(state: str) -> str:
    """The class of a badge of that state or outcome."""
    return _TONES.get(state, "neutral")


@register.filter
def words(state: str) -> str:
    """`partially_failed` as people write it."""
    return state.replace("_", " ")


@register.filter
def breakable(name: str) -> str:
    """A name of many words, with places where its line may end."""
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in _WORD_ENDS.split(name)))


@register.filter
def value(document: object) -> str:
    """A JSON value in one line."""
    return json.dumps(document, ensure_ascii=False)


@register.filter
def is_short(document: object) -> bool:
    """Whether a JSON value is read at a glance."""
    return len(value(document)) <= _GLANCE


@register.filter
def pretty(document: object) -> str:
    """A JSON value over several lines."""
    return json.dumps(document, ensure_ascii=False, indent=2)


@register.filter
def matter(operation: Operation) -> str:
    """What an operation changes: the keys of its body, else its parameters."""
    if isinstance(operation.body, dict) and operation.body:
        return keys(operation.body)
    return unquote_plus(operation.query)


@register.filter
def rollout(strategy: Mapping[str, Any]) -> str:
    """A strategy as people say it: `1 first, then 2 at a time, 5 s apart; failures are
    borne`."""
    canary, size, pause_s = (strategy[name] for name in ("canary", "wave_size", "pause_s"))
    rest = f"{size} at a time" if size else "all at once"
    order = f"{canary} first, then {rest}" if canary else rest
    if pause_s:
        order += f", {_length(round(pause_s))} apart" if pause_s >= 1 else f", {pause_s:g} s apart"
    most = strategy["max_failures"]
    if most is None:
        return f"{order}; failures are borne"
    failures = {0: "the first failure", 1: "more than 1 failure"}.get(
        most, f"more than {most} failures"
    )
    return f"{order}; after {failures} {_ON_FAILURE[strategy['on_failure']]}"


@register.filter
def sides(diff: Mapping[str, Mapping[str, object]]) -> list[tuple[str, str, str]]:
    """Key, before, after; "—" where there was nothing."""
    return [(key, _side(change, "from"), _side(change, "to")) for key, change in diff.items()]


def _side(change: Mapping[str, object], name: str) -> str:
    return value(change[name]) if name in change else "—"


@register.filter
def keys(document: Mapping[str, object]) -> str:
    """The keys of an object, separated by commas, in order: PostgreSQL gives them back in
    one of its own."""
    return ", ".join(sorted(document))


@register.filter
def why(error: object) -> str:
    """The message of a stored error."""
    if isinstance(error, Mapping):
        return str(error.get("message") or error.get("error") or "")
    return ""
