"""Filters of the lists of operations and their targets."""

from django_filters import rest_framework as filters

from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.rest.filters import MomentFilter


class OperationFilter(filters.FilterSet):
    """`?action=&state=&actor=&agent=&request_id=&since=&until=`."""

    action = filters.CharFilter(help_text="What was done, as entity.verb, such as freeze.enable.")
    state = filters.ChoiceFilter(choices=State.choices, help_text="How it stands.")
    actor = filters.CharFilter(
        field_name="actor_name",
        help_text="Name of whoever did it: a user, or user/token for a program.",
    )
    agent = filters.CharFilter(
        field_name="targets__agent", distinct=True, help_text="Name of an agent."
    )
    request_id = filters.CharFilter(help_text="What the header X-Request-ID said.")
    since = MomentFilter(
        field_name="created_at",
        lookup_expr="gte",
        help_text="This moment or later, such as 2026-01-31T12:00:00Z.",
    )
    until = MomentFilter(field_name="created_at", lookup_expr="lt", help_text="Before this moment.")

    class Meta:
        model = Operation
        fields = ["action", "state", "actor", "agent", "request_id", "since", "until"]


class OperationTargetFilter(filters.FilterSet):
    """`?state=&agent=`."""

    state = filters.ChoiceFilter(choices=State.choices, help_text="How far it has come.")
    agent = filters.CharFilter(help_text="Name of an agent.")

    class Meta:
        model = OperationTarget
        fields = ["state", "agent"]
