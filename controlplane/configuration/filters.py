"""Filters of the list of revisions."""

from django_filters import rest_framework as filters

from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.rest.filters import MomentFilter, WholeNumberFilter


class ConfigRevisionFilter(filters.FilterSet):
    """`?agent=&number=&state=&source=&actor=&operation=&since=&until=`."""

    agent = filters.CharFilter()
    number = WholeNumberFilter(min_value=1, max_value=(1 << 31) - 1)
    state = filters.ChoiceFilter(choices=RevisionState.choices)
    source = filters.ChoiceFilter(choices=Source.choices)
    actor = filters.CharFilter(field_name="actor_name")
    operation = filters.UUIDFilter(field_name="operation_id")
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = ConfigRevision
        fields = ["agent", "number", "state", "source", "actor", "operation", "since", "until"]
