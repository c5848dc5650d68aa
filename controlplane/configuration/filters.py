"""Filters of the list of revisions."""

from django_filters import rest_framework as filters

from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.rest.filters import MomentFilter, WholeNumberFilter


class ConfigRevisionFilter(filters.FilterSet):
    """`?agent=&number=&state=&source=&actor=&operation=&since=&until=`."""

    agent = filters.CharFilter(help_text="Name of an agent.")
    number = WholeNumberFilter(
        min_value=1, max_value=(1 << 31) - 1, help_text="Number of a revision of an agent."
    )
    state = filters.ChoiceFilter(choices=RevisionState.choices, help_text="How it stands.")
    source = filters.ChoiceFilter(choices=Source.choices, help_text="What it came from.")
    actor = filters.CharFilter(
        field_name="actor_name",
        help_text="Name of whoever did it: a user, or user/token for a program.",
    )
    operation = filters.UUIDFilter(field_name="operation_id", help_text="Id of an operation.")
    since = MomentFilter(
        field_name="created_at",
        lookup_expr="gte",
        help_text="This moment or later, such as 2026-01-31T12:00:00Z.",
    )
    until = MomentFilter(field_name="created_at", lookup_expr="lt", help_text="Before this moment.")

    class Meta:
        model = ConfigRevision
        fields = ["agent", "number", "state", "source", "actor", "operation", "since", "until"]
