"""What was done to agents, and when: what may be the cause of what their counts show."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from django.db.models import Count, Q, QuerySet
from django.urls import reverse

from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.modes.models import Mode, ModeChange, ModeChangeState, ModeSource
from controlplane.operations.models import Operation, State

_MAX_ROWS = 2_000
_MAX_KEYS = 3
_CAME_TO_PASS = (RevisionState.ACTIVE, RevisionState.SUPERSEDED, RevisionState.UNKNOWN)
_MODES = {Mode.FREEZE: "freeze", Mode.BYPASS: "bypass", Mode.HOT_CACHE: "hot cache"}


class Kind(StrEnum):
    """What happened at a moment."""

    CONFIG = "config"
    MODE = "mode"
    CLEAR = "clear"
    RUN = "run"
    """The counts began anew: a reset, or a restart of the agent."""


@dataclass(frozen=True)
class Moment:
    """Something that happened. `about` is one agent, or how many there are; `href` is the
    page that tells more, "" if there is none."""

    at: datetime
    kind: Kind
    label: str
    about: str
    href: str = ""
    reason: str = ""
    stands_for: int = 1
    """How many moments it was made of."""
    agent: str = ""
    """The one agent whose configuration was changed; "" for several, and for other kinds."""


@dataclass(frozen=True)
class Found:
    """What was done, and how many older changes were not even read."""

    moments: Sequence[Moment]
    unread: int


class Span(NamedTuple):
    """From `start` to before `end`."""

    start: datetime
    end: datetime


def moments_of(agents: Collection[str], span: Span) -> Found:
    """Changes of configurations and modes, and clears, of these agents. What one operation
    did to several agents is one moment. Three queries, and another for each kind of which
    there are thousands."""
    configs = _newest(_config_changes(agents, span))
    modes = _newest(_mode_changes(agents, span))
    clears = _newest(_clears(agents, span))
    changes = [*map(_config_change, configs.rows), *map(_mode_change, modes.rows)]
    return Found(
        [*_joined(changes), *map(_clear, clears.rows)],
        configs.unread + modes.unread + clears.unread,
    )


def began_anew(moments: Iterable[datetime], about: str) -> list[Moment]:
    """The moments at which counts began anew."""
    return [Moment(at, Kind.RUN, "counts began anew", about) for at in moments]


class _Newest(NamedTuple):
    rows: list[Any]
    unread: int


def _newest(rows: QuerySet[Any]) -> _Newest:
    found = list(rows[:_MAX_ROWS])
    return _Newest(found, rows.count() - len(found) if len(found) == _MAX_ROWS else 0)


class _Change(NamedTuple):
    """One change of one agent."""

    moment: Moment
    operation: uuid.UUID | None


def _config_changes(agents: Collection[str], span: Span) -> QuerySet[ConfigRevision]:
    return (
        ConfigRevision.objects.filter(
            agent__in=agents,
            created_at__gte=span.start,
            created_at__lt=span.end,
            state__in=_CAME_TO_PASS,
        )
        # What an agent had when it was first seen changed nothing.
        .exclude(source=Source.IMPORT)
        .order_by("-created_at")
        .only("agent", "number", "diff", "reason", "operation_id", "created_at")
    )


def _config_change(row: ConfigRevision) -> _Change:
    label = f"config {_few(row.diff)}".strip()
    href = reverse("dashboard:revision", args=[row.pk])
    moment = Moment(
        row.created_at, Kind.CONFIG, label, row.agent, href, row.reason, agent=row.agent
    )
    return _Change(moment, row.operation_id)


def _mode_changes(agents: Collection[str], span: Span) -> QuerySet[ModeChange]:
    return (
        ModeChange.objects.filter(
            agent__in=agents,
            created_at__gte=span.start,
            created_at__lt=span.end,
            state__in=(ModeChangeState.APPLIED, ModeChangeState.UNKNOWN),
        )
        .exclude(source=ModeSource.IMPORT)
        .order_by("-created_at")
    )


def _mode_change(row: ModeChange) -> _Change:
    what = f"{_MODES[Mode(row.mode)]} {row.backend}".strip()
    label = f"{what} {'on' if row.to_value else 'off'}"
    href = reverse("dashboard:agent", args=[row.agent])
    if row.operation_id is not None:
        href = reverse("dashboard:operation", args=[row.operation_id])
    moment = Moment(row.created_at, Kind.MODE, label, row.agent, href, row.reason)
    return _Change(moment, row.operation_id)


def _clears(agents: Collection[str], span: Span) -> QuerySet[Operation]:
    cleared = Count("targets", filter=Q(targets__agent__in=agents))
    return (
        Operation.objects.filter(
            action="cache.clear", created_at__gte=span.start, created_at__lt=span.end
        )
        .exclude(state__in=(State.PENDING, State.FAILED, State.CANCELLED))
        .annotate(cleared=cleared)
        .filter(cleared__gt=0)
        .order_by("-created_at")
    )


def _clear(row: Any) -> Moment:
    href = reverse("dashboard:operation", args=[row.pk])
    about = _agents(row.cleared)
    return Moment(row.created_at, Kind.CLEAR, "cache cleared", about, href, row.reason)


def _joined(changes: Iterable[_Change]) -> Iterator[Moment]:
    """Those of one operation that say the same as one."""
    together: dict[tuple[object, str], list[_Change]] = {}
    for number, change in enumerate(changes):
        key = number if change.operation is None else change.operation
        together.setdefault((key, change.moment.label), []).append(change)
    for (operation, _), same in together.items():
        first = min((change.moment for change in same), key=lambda moment: moment.at)
        if len(same) == 1:
            yield first
            continue
        href = reverse("dashboard:operation", args=[operation])
        yield Moment(first.at, first.kind, first.label, _agents(len(same)), href, first.reason)


def _few(diff: Iterable[str]) -> str:
    keys = list(diff)
    more = len(keys) - _MAX_KEYS
    return ", ".join(keys[:_MAX_KEYS]) + (f" and {more} more" if more > 0 else "")


def _agents(count: int) -> str:
    return "1 agent" if count == 1 else f"{count:,} agents"
