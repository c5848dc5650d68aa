"""Which agents the table shows, as the address says it."""

import re
from dataclasses import replace
from typing import Any

from django import forms
from django.http import QueryDict

from controlplane.dashboard.fleet_rows import AgentRow, EngineRows
from controlplane.fleet.models import ROLE_CHOICES

_QUOTED = r'"(?:[^"]|"")*"'
# The next label with the comma after it; nothing between two commas is no label.
_LABEL = re.compile(
    rf'\s*(?:(?P<name>{_QUOTED}|[^=,\s"][^=,\s]*)'
    rf'\s*(?:=\s*(?P<value>{_QUOTED}|(?:[^,"][^,]*?)?)\s*)?)?(?:,|\Z)'
)
_NEEDS_QUOTES = re.compile(r'[=,"\s]|\A\Z')
_MAX_LABELS = 2_000
_HEALTH = [(name, name) for name in ("online", "unknown", "offline", "left")]
STATES = [
    ("drift", "drifting"),
    ("frozen", "frozen"),
    ("bypassed", "bypassed"),
    ("hot-cache-off", "hot cache off"),
    ("temporary", "ends by itself"),
]


class FleetFilter(forms.Form):
    """`?q=&engine=&role=&health=&state=&label=`: those that fit all of it."""

    q = forms.CharField(required=False, max_length=200, label="Search")
    engine = forms.CharField(required=False, max_length=128)
    role = forms.ChoiceField(required=False, choices=[("", "any role"), *ROLE_CHOICES])
    health = forms.ChoiceField(required=False, choices=[("", "any health"), *_HEALTH])
    state = forms.ChoiceField(required=False, choices=[("", "any state"), *STATES])
    label = forms.CharField(required=False, max_length=_MAX_LABELS)

    def __init__(self, query: QueryDict) -> None:
        super().__init__(query)
        self._query = query
        self._narrowed: dict[tuple[str, str], str] = {}

    def clean_label(self) -> dict[str, str | None]:
        """Names with values; None: whatever the value. Raises ValidationError."""
        text: str = self.cleaned_data["label"]
        wanted: dict[str, str | None] = {}
        place = 0
        while place < len(text):
            found = _LABEL.match(text, place)
            if found is None:
                raise forms.ValidationError(
                    f"'{text[place:].strip()[:40]}' is no label; write zone=a, several with "
                    'commas, and what has a comma in quotes: zone="a, b".'
                )
            if found["name"] is not None:
                wanted[_bare(found["name"])] = (
                    None if found["value"] is None else _bare(found["value"])
                )
            place = found.end()
        return wanted

    def narrowed_by(self, name: str, value: str) -> str:
        """The query of an address that asks for this label besides all that is asked for
        now. The filter must be valid."""
        # The same few labels are on many agents.
        if (name, value) not in self._narrowed:
            wanted = {**self.cleaned_data["label"], name: value}
            query = self._query.copy()
            query.pop("selection", None)
            query["label"] = ", ".join(_written(*label) for label in wanted.items())
            self._narrowed[name, value] = f"?{query.urlencode()}"
        return self._narrowed[name, value]

    def apply(self, fleet: list[EngineRows]) -> list[EngineRows]:
        """The engines with agents that fit; engines without agents too if nothing is
        asked for. Nothing of a filter that cannot be read."""
        if not self.is_valid():
            return []
        wanted = self.cleaned_data
        if not any(wanted.values()):
            return fleet
        shown = [
            replace(engine, rows=[row for row in engine.rows if _fits(row, wanted)])
            for engine in fleet
        ]
        return [engine for engine in shown if engine.rows]


def _bare(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _written(name: str, value: str | None) -> str:
    return _quoted(name) if value is None else f"{_quoted(name)}={_quoted(value)}"


def _quoted(text: str) -> str:
    if not _NEEDS_QUOTES.search(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _fits(row: AgentRow, wanted: dict[str, Any]) -> bool:
    return (
        wanted["engine"] in ("", row.engine)
        and wanted["role"] in ("", row.role)
        and wanted["health"] in ("", row.health)
        and _is_in(row, wanted["state"])
        and all(
            name in row.labels and value in (None, row.labels[name])
            for name, value in wanted["label"].items()
        )
        and all(word in _text(row) for word in wanted["q"].lower().split())
    )


def _is_in(row: AgentRow, state: str) -> bool:
    if state == "temporary":
        return any(badge.expires_at is not None for badge in row.badges)
    return not state or row.has(state)


def _text(row: AgentRow) -> str:
    labels = [f"{name}={value}" for name, value in row.labels.items()]
    return " ".join([row.name, row.engine, row.model, row.version, *labels]).lower()
