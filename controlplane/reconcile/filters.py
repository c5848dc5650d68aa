"""Filters of the list of watches."""

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from controlplane.fleet.models import Health
from controlplane.reconcile.models import Watch


class WatchFilter(filters.FilterSet):
    """`?agent=&engine=&health=&drifted=&gave_up=`."""

    agent = filters.CharFilter(field_name="agent__name")
    engine = filters.CharFilter(field_name="agent__engine__name")
    health = filters.ChoiceFilter(field_name="agent__health", choices=Health.choices)
    drifted = filters.BooleanFilter(method="filter_drifted", label="Whether it drifted")
    gave_up = filters.BooleanFilter(
        field_name="gave_up_at", lookup_expr="isnull", exclude=True, label="Whether repairs ended"
    )

    class Meta:
        model = Watch
        fields = ["agent", "engine", "health", "drifted", "gave_up"]

    def filter_drifted(self, rows: QuerySet[Watch], name: str, value: bool) -> QuerySet[Watch]:  # noqa: FBT001
        """Those that are not, or are, as they should be."""
        drifted = Q(drift_since__isnull=False)
        return rows.filter(drifted if value else ~drifted)
