"""Filters of the snapshots."""

from django_filters import rest_framework as filters

from controlplane.rest.filters import MomentFilter, WholeNumberFilter
from controlplane.statistics.models import ChunkStatisticsSnapshot, TierStatisticsSnapshot, Trigger

_MAX_RUN = (1 << 31) - 1
_NAMES = ["agent", "engine", "trigger", "run", "since", "until"]


class SnapshotFilter(filters.FilterSet):
    """`?agent=&engine=&trigger=&run=&since=&until=`."""

    agent = filters.CharFilter(help_text="Name of an agent.")
    engine = filters.CharFilter(help_text="Name of an engine.")
    trigger = filters.ChoiceFilter(choices=Trigger.choices, help_text="Why it was taken.")
    run = WholeNumberFilter(
        min_value=1, max_value=_MAX_RUN, help_text="Number of a run: counters begin anew with each."
    )
    since = MomentFilter(
        field_name="taken_at",
        lookup_expr="gte",
        help_text="This moment or later, such as 2026-01-31T12:00:00Z.",
    )
    until = MomentFilter(field_name="taken_at", lookup_expr="lt", help_text="Before this moment.")


class ChunkStatisticsFilter(SnapshotFilter):
    """Of snapshots of chunk statistics."""

    class Meta:
        model = ChunkStatisticsSnapshot
        fields = _NAMES


class TierStatisticsFilter(SnapshotFilter):
    """Of snapshots of tiers."""

    class Meta:
        model = TierStatisticsSnapshot
        fields = _NAMES
