"""Filters of the lists of operations and their targets."""

from django_filters import rest_framework as filters

from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.rest.filters import MomentFilter


class OperationFilter(filters.FilterSet):
    """`?action=&state=&actor=&agent=&request_id=&since=&until=`."""

    action = filters.CharFilter()
    state = filters.ChoiceFilter(choices=State.choices)
    actor = filters.CharFilter(field_name="actor_name")
    agent = filters.CharFilter(field_name="targets__agent", distinct=True)
    request_id = filters.CharFilter()
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Operation
        fields = ["action", "state", "actor", "agent", "request_id", "since", "until"]


class OperationTargetFilter(filters.FilterSet):
    """`?state=&agent=`."""

    state = filters.ChoiceFilter(choices=State.choices)
    agent = filters.CharFilter()

    class Meta:
        model = OperationTarget
        fields = ["state", "agent"]
