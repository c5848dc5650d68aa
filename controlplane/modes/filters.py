"""Filters of the lists of modes."""

from django_filters import rest_framework as filters

from controlplane.modes.models import (
    DesiredMode,
    Mode,
    ModeChange,
    ModeChangeState,
    ModeSource,
)
from controlplane.rest.filters import MomentFilter


class DesiredModeFilter(filters.FilterSet):
    """`?agent=&mode=&backend=&value=&temporary=`."""

    agent = filters.CharFilter()
    mode = filters.ChoiceFilter(choices=Mode.choices)
    backend = filters.CharFilter()
    value = filters.BooleanFilter()
    temporary = filters.BooleanFilter(
        field_name="expires_at", lookup_expr="isnull", exclude=True, label="Whether it expires"
    )

    class Meta:
        model = DesiredMode
        fields = ["agent", "mode", "backend", "value", "temporary"]


class ModeChangeFilter(filters.FilterSet):
    """`?agent=&mode=&backend=&state=&source=&actor=&operation=&since=&until=`."""

    agent = filters.CharFilter()
    mode = filters.ChoiceFilter(choices=Mode.choices)
    backend = filters.CharFilter()
    state = filters.ChoiceFilter(choices=ModeChangeState.choices)
    source = filters.ChoiceFilter(choices=ModeSource.choices)
    actor = filters.CharFilter(field_name="actor_name")
    operation = filters.UUIDFilter(field_name="operation_id")
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = ModeChange
        fields = [
            "agent",
            "mode",
            "backend",
            "state",
            "source",
            "actor",
            "operation",
            "since",
            "until",
        ]
