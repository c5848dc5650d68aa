"""Which agents the table shows, as the address says it."""

import re
from dataclasses import replace
from typing import Any

from django import forms

from controlplane.dashboard.fleet_rows import AgentRow, EngineRows
from controlplane.fleet.models import ROLE_CHOICES

_LABEL = re.compile(r"\s*([^=,\s]+)\s*(?:=\s*([^,]*?)\s*)?")
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
    label = forms.CharField(required=False, max_length=500)

    def clean_label(self) -> dict[str, str | None]:
        """Names with values; None: whatever the value. Raises ValidationError."""
        text: str = self.cleaned_data["label"]
        wanted: dict[str, str | None] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            found = _LABEL.fullmatch(part)
            if found is None:
                raise forms.ValidationError(
                    f"'{part[:40]}' is no label; write zone=a, several with commas."
                )
            wanted[found[1]] = found[2]
        return wanted

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
