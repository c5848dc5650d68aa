"""Filters of the list of revisions."""

from django_filters import rest_framework as filters

from controlplane.configuration.models import ConfigRevision, RevisionState, Source
from controlplane.rest.filters import HistoryFilter, WholeNumberFilter


class ConfigRevisionFilter(HistoryFilter):
    """`?agent=&number=&state=&source=&actor=&operation=&since=&until=`."""

    agent = filters.CharFilter(help_text="Name of an agent.")
    number = WholeNumberFilter(
        min_value=1, max_value=(1 << 31) - 1, help_text="Number of a revision of an agent."
    )
    state = filters.ChoiceFilter(choices=RevisionState.choices, help_text="How it stands.")
    source = filters.ChoiceFilter(choices=Source.choices, help_text="What it came from.")

    class Meta:
        model = ConfigRevision
        fields = ["agent", "number", "state", "source", "actor", "operation", "since", "until"]
