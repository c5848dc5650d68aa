"""Whose statistics the page shows, of what time, and how finely, as the address says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.functional import cached_property

from controlplane.rest.filters import BoundedDateTimeField
from controlplane.statistics.models import KINDS
from controlplane.statistics.series import Bucket, series_of_agent, series_of_engine
from controlplane.statistics.steps import agents_counted
from controlplane.statistics.tier_series import (
    TierBucket,
    tier_series_of_agent,
    tier_series_of_engine,
)
from controlplane.statistics.window import BOUNDS, MAX_BUCKETS, window_of
from engine.contract import InvalidParameter

_QUARTER = 900
_HOUR = 3_600
_DAY = 24 * _HOUR
RECENT_SPANS = [
    (_QUARTER, "15 minutes"),
    (_HOUR, "1 hour"),
    (6 * _HOUR, "6 hours"),
    (_DAY, "24 hours"),
    (7 * _DAY, "7 days"),
]
_SPANS = [
    *RECENT_SPANS,
    (30 * _DAY, "30 days"),
    (365 * _DAY, "365 days"),
]
_BUCKETS = [
    (0, "as fits"),
    (60, "1 minute"),
    (300, "5 minutes"),
    (_QUARTER, "15 minutes"),
    (_HOUR, "1 hour"),
    (6 * _HOUR, "6 hours"),
    (_DAY, "1 day"),
]
FITTING = {
    # Longer than the time from one snapshot to the next, or every other step were a gap.
    _QUARTER: 120,
    _HOUR: 120,
    6 * _HOUR: 300,
    _DAY: _QUARTER,
    7 * _DAY: _HOUR,
    30 * _DAY: 6 * _HOUR,
    365 * _DAY: _DAY,
}
"""How long a step is that suits a stretch of time; seconds, both."""
_STEPS = (120, 300, 900, _HOUR, 6 * _HOUR, _DAY)
_INTERVALS_IN_A_STEP = 1.5
_TOO_MANY_STEPS = (
    f"There would be more than {MAX_BUCKETS:,} steps; choose longer steps, or a shorter time."
)


def fitting_s(last_s: int) -> int:
    """As FITTING says, or longer where snapshots are taken less often; seconds."""
    # They come a poll later than they should.
    shortest = settings.KVPLANE_STATISTICS_SECONDS * _INTERVALS_IN_A_STEP
    fitting = (step for step in _STEPS if step >= max(FITTING[last_s], shortest))
    return next(fitting, _STEPS[-1])


@dataclass(frozen=True)
class Subject:
    """An agent, or an engine with all of its agents; `kind` is `agent` or `engine`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    def agents(
        self, fleet: Mapping[str, Sequence[str]], since: datetime, until: datetime
    ) -> list[str]:
        """The agents that belong to it, in a fleet by engine, and those that did when they
        were counted in that time. Two queries at most."""
        if self.kind == "agent":
            return [self.name]
        return sorted({*fleet.get(self.name, ()), *agents_counted(self.name, since, until)})

    def is_in(self, fleet: Mapping[str, Sequence[str]]) -> bool:
        """Whether a fleet by engine has it; what was counted outlives the agents."""
        if self.kind == "engine":
            return self.name in fleet
        return any(self.name in agents for agents in fleet.values())

    def series(self, since: datetime, until: datetime, bucket_s: int) -> list[Bucket]:
        """Its buckets. Raises InvalidParameter, AgentNotFound and EngineNotFound."""
        series = series_of_agent if self.kind == "agent" else series_of_engine
        return series(self.name, since=since, until=until, bucket_s=bucket_s)

    def tier_series(self, since: datetime, until: datetime, bucket_s: int) -> list[TierBucket]:
        """The buckets of its tiers. Raises InvalidParameter, AgentNotFound and
        EngineNotFound."""
        series = tier_series_of_agent if self.kind == "agent" else tier_series_of_engine
        return series(self.name, since=since, until=until, bucket_s=bucket_s)


class StatisticsForm(forms.Form):
    """`?of=engine/NAME&last=86400&until=&bucket=900`; seconds."""

    of = forms.RegexField(
        r"^(agent|engine)/.{1,128}$",
        required=False,
        error_messages={"invalid": "Write engine/NAME or agent/NAME."},
    )
    last = forms.TypedChoiceField(choices=_SPANS, coerce=int, required=False)
    until = BoundedDateTimeField(required=False)
    bucket = forms.TypedChoiceField(choices=_BUCKETS, coerce=int, required=False)

    def clean(self) -> None:
        """Refuse a time and a step that no series is told of."""
        super().clean()
        if self.errors:
            return
        try:
            window_of(*self.span, self.bucket_s)
        except InvalidParameter as error:
            # A series has parameters that the page does not, and names those.
            if error.parameter == "bucket":
                self.add_error("bucket", _TOO_MANY_STEPS)
            else:
                self.add_error("until", BOUNDS)

    @property
    def subject(self) -> Subject | None:
        """Who is asked for; None: nobody in particular, or what cannot be read. The form must
        have been validated."""
        kind, _, name = self.cleaned_data.get("of", "").partition("/")
        return Subject(kind, name) if name else None

    @property
    def last_s(self) -> int:
        """How long a time, in seconds."""
        return int(self.cleaned_data.get("last") or _DAY)

    @property
    def bucket_s(self) -> int:
        """The length of a bucket, in seconds."""
        return int(self.cleaned_data.get("bucket") or fitting_s(self.last_s))

    @cached_property
    def span(self) -> tuple[datetime, datetime]:
        """From when to before when; now is when it was first asked. `until` must be valid."""
        until: datetime = self.cleaned_data["until"] or timezone.now()
        return until - timedelta(seconds=self.last_s), until


def newest_subject() -> Subject | None:
    """The engine that was counted last; None: nothing was ever counted. A query for each kind
    of snapshot."""
    newest = [
        row
        for kind in KINDS
        for row in kind._default_manager.order_by("-taken_at").values_list("taken_at", "engine")[:1]
    ]
    return Subject("engine", max(newest)[1]) if newest else None
