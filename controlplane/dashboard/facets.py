"""What the audit log can be narrowed down by: which values there are of what, how often,
and what is asked for now."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet

from controlplane.audit.filters import AuditFilter
from controlplane.audit.models import AuditEntry
from controlplane.audit.searching import number_of

FACETS = {
    "actor": "actor_name",
    "actor_kind": "actor_kind",
    "action": "action",
    "outcome": "outcome",
    "stage": "stage",
    "status": "status",
}
"""Parameters of the address, and the columns that they are about."""
SAMPLE = 2_000
"""So many of the newest entries that fit are counted, however many there are."""
_MOST_VALUES = 12
_LABELS = {"actor_kind": "kind of actor", "request_id": "request", "text": "text in the diff"}


@dataclass(frozen=True)
class Value:
    """One value of a facet; `query` is the address with it instead of another."""

    text: str
    count: int
    query: str
    is_chosen: bool


@dataclass(frozen=True)
class Facet:
    """The values of one column among the entries that fit everything else, the most
    frequent first."""

    name: str
    label: str
    values: Sequence[Value]

    @property
    def shown(self) -> Sequence[Value]:
        """Those that are frequent."""
        return self.values[:_MOST_VALUES]

    @property
    def further(self) -> int:
        """How many others there are."""
        return max(0, len(self.values) - _MOST_VALUES)

    @property
    def is_worth_it(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.values) > 1 or any(value.is_chosen for value in self.values)


@dataclass(frozen=True)
class Chip:
    """Something that is asked for; `query` is the address without it."""

    label: str
    text: str
    query: str


@dataclass(frozen=True)
class Facets:
    """All of them, and how many entries were counted; `is_all` if there are no others."""

    all: Sequence[Facet]
    counted: int

    @property
    def is_all(self) -> bool:
        """Whether everything that fits was counted."""
        return self.counted < SAMPLE

    def similar(self, asked: Mapping[str, str]) -> Sequence[Value]:
        """Actors whose names have in them what is asked for as an actor."""
        name = asked.get("actor", "").casefold()
        (actors,) = [facet for facet in self.all if facet.name == "actor"]
        return [
            value
            for value in actors.values
            if name and name in value.text.casefold() and not value.is_chosen
        ][:_MOST_VALUES]


def facets_of(asked: Mapping[str, str]) -> Facets:
    """The facets for an address that is valid. One query, besides those that the filter of
    the log itself makes."""
    others = {name: value for name, value in asked.items() if name not in FACETS}
    chosen = {name: value for name, value in asked.items() if name in FACETS}
    fitting = AuditFilter(others, queryset=AuditEntry.objects.all()).qs
    rows = _newest(fitting)
    return Facets([_facet(name, rows, chosen, asked) for name in FACETS], len(rows))


def chips_of(asked: Mapping[str, str]) -> list[Chip]:
    """All that is asked for."""
    return [
        Chip(_label(name), value, urlencode(_without(asked, name))) for name, value in asked.items()
    ]


def _newest(entries: QuerySet[AuditEntry]) -> list[dict[str, str]]:
    newest = entries.order_by(f"-{number_of(entries)}").values_list(*FACETS.values())[:SAMPLE]
    return [
        {name: _written(value) for name, value in zip(FACETS, row, strict=True)} for row in newest
    ]


def _facet(
    name: str,
    rows: Sequence[Mapping[str, str]],
    chosen: Mapping[str, str],
    asked: Mapping[str, str],
) -> Facet:
    others = [(other, value) for other, value in chosen.items() if other != name]
    counts = Counter(
        row[name]
        for row in rows
        if row[name] and all(row[other] == value for other, value in others)
    )
    values = [
        Value(text, count, urlencode({**asked, name: text}), text == chosen.get(name))
        for text, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return Facet(name, _label(name), values)


def _without(asked: Mapping[str, str], name: str) -> dict[str, str]:
    return {other: value for other, value in asked.items() if other != name}


def _label(name: str) -> str:
    return _LABELS.get(name, name)


def _written(value: Any) -> str:
    return "" if value is None else str(value)
