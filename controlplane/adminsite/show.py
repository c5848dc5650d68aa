"""How values are shown on the admin's pages."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from controlplane.modes.models import DesiredMode, Mode

NOTHING = "-"
_TONES = {
    "good": (
        "usable",
        "answered",
        "succeeded",
        "applied",
        "active",
        "online",
        "observed",
        "on time",
        "ok",
    ),
    "bad": ("failed", "offline", "denied", "broken", "gave up"),
    "wary": (
        "partially_failed",
        "unknown",
        "pending",
        "running",
        "drifts",
        "left",
        "revoked",
        "expired",
    ),
}
_TONE_OF = {word: tone for tone, words in _TONES.items() for word in words}


def state(word: object) -> SafeString:
    """A state as a coloured mark with its name."""
    text = str(word)
    if not text:
        return SafeString(NOTHING)
    tone = _TONE_OF.get(text, "plain")
    return format_html('<span class="kvp-state kvp-{}">{}</span>', tone, text.replace("_", " "))


def document(value: object) -> SafeString:
    """JSON, one key a line."""
    if value in (None, "", {}, []):
        return SafeString(NOTHING)
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return format_html('<pre class="kvp-document">{}</pre>', text)


def difference(diff: object) -> SafeString:
    """A difference as a table: key, from, to."""
    if not isinstance(diff, Mapping) or not diff:
        return SafeString(NOTHING)
    rows = [
        {"key": key, "before": _side(change, "from"), "after": _side(change, "to")}
        for key, change in diff.items()
    ]
    return render_to_string("admin/kvplane/difference.html", {"rows": rows})


def _side(change: object, name: str) -> str:
    if not isinstance(change, Mapping) or name not in change:
        return NOTHING
    return json.dumps(change[name], ensure_ascii=False)


def labels(value: object) -> SafeString:
    """Labels, side by side."""
    if not isinstance(value, Mapping) or not value:
        return SafeString(NOTHING)
    spans = [format_html('<span class="kvp-label">{}={}</span>', *pair) for pair in value.items()]
    return SafeString(" ".join(spans))


def modes(desired: Iterable[DesiredMode]) -> SafeString:
    """Modes that are not as at an agent's start, as marks."""
    marks = [
        format_html('<span class="kvp-state kvp-mode">{}</span>', mode_name(one)) for one in desired
    ]
    return SafeString(" ".join(marks)) if marks else _nothing()


def mode_name(desired: DesiredMode) -> str:
    """What is switched, in words."""
    if desired.mode == Mode.FREEZE:
        return "frozen"
    if desired.mode == Mode.HOT_CACHE:
        return "hot cache off"
    return f"bypasses {desired.backend}"


def moment(when: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return NOTHING if when is None else f"{when:%Y-%m-%d %H:%M:%S}"


def link(url: str, text: object) -> SafeString:
    """A link."""
    return format_html('<a href="{}">{}</a>', url, text)


def agent(name: str) -> SafeString:
    """The agent of that name, whether it is still known or not."""
    return link(reverse("admin:fleet_agent_named", args=[name]), name) if name else _nothing()


def operation(number: object) -> SafeString:
    """An operation."""
    if not number:
        return _nothing()
    return link(reverse("admin:operations_operation_change", args=[number]), str(number))


def list_of(model: str, text: object, **filters: object) -> SafeString:
    """A list of `app_model`, narrowed."""
    return link(list_url(model, **filters), text)


def list_url(model: str, **filters: object) -> str:
    """Where the list of `app_model`, narrowed, is."""
    given = {name: str(value) for name, value in filters.items()}
    return f"{reverse(f'admin:{model}_changelist')}?{urlencode(given)}"


def _nothing() -> SafeString:
    return SafeString(NOTHING)


def change_url(model: str, key: object) -> str:
    """Where the page of one record of `app_model` is."""
    return reverse(f"admin:{model}_change", args=[key])


class _Token(Protocol):
    revoked_at: datetime | None

    @property
    def is_usable(self) -> bool: ...


def usability(token: _Token) -> str:
    """Whether a token can be used, in a word."""
    if token.revoked_at is not None:
        return "revoked"
    return "usable" if token.is_usable else "expired"
