"""Filters of the list of watches."""

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from controlplane.fleet.models import Health
from controlplane.reconcile.models import Watch


class WatchFilter(filters.FilterSet):
    """`?agent=&engine=&health=&drifted=&gave_up=`."""

    agent = filters.CharFilter(field_name="agent__name", help_text="Name of an agent.")
    engine = filters.CharFilter(field_name="agent__engine__name", help_text="Name of an engine.")
    health = filters.ChoiceFilter(
        field_name="agent__health",
        choices=Health.choices,
        help_text="What is known of the process.",
    )
    drifted = filters.BooleanFilter(
        method="filter_drifted",
        help_text="Whether it is otherwise than it should be.",
    )
    gave_up = filters.BooleanFilter(
        field_name="gave_up_at",
        lookup_expr="isnull",
        exclude=True,
        help_text="Whether repairs ended without success.",
    )

    class Meta:
        model = Watch
        fields = ["agent", "engine", "health", "drifted", "gave_up"]

    def filter_drifted(self, rows: QuerySet[Watch], name: str, value: bool) -> QuerySet[Watch]:  # noqa: FBT001
        """Those that are not, or are, as they should be."""
        drifted = Q(drift_since__isnull=False)
        return rows.filter(drifted if value else ~drifted)
