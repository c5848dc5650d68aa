"""Filters of the snapshots."""

from django_filters import rest_framework as filters

from controlplane.rest.filters import MomentFilter, WholeNumberFilter
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger

_MAX_RUN = (1 << 31) - 1


class ChunkStatisticsFilter(filters.FilterSet):
    """`?agent=&engine=&trigger=&run=&since=&until=`."""

    agent = filters.CharFilter()
    engine = filters.CharFilter()
    trigger = filters.ChoiceFilter(choices=Trigger.choices)
    run = WholeNumberFilter(min_value=1, max_value=_MAX_RUN)
    since = MomentFilter(field_name="taken_at", lookup_expr="gte")
    until = MomentFilter(field_name="taken_at", lookup_expr="lt")

    class Meta:
        model = ChunkStatisticsSnapshot
        fields = ["agent", "engine", "trigger", "run", "since", "until"]
