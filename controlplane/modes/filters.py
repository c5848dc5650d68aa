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

    agent = filters.CharFilter(help_text="Name of an agent.")
    mode = filters.ChoiceFilter(choices=Mode.choices, help_text="Which mode.")
    backend = filters.CharFilter(help_text="Name of a backend, for bypasses.")
    value = filters.BooleanFilter(help_text="Whether the mode should be on.")
    temporary = filters.BooleanFilter(
        field_name="expires_at",
        lookup_expr="isnull",
        exclude=True,
        help_text="Whether it expires.",
    )

    class Meta:
        model = DesiredMode
        fields = ["agent", "mode", "backend", "value", "temporary"]


class ModeChangeFilter(filters.FilterSet):
    """`?agent=&mode=&backend=&state=&source=&actor=&operation=&since=&until=`."""

    agent = filters.CharFilter(help_text="Name of an agent.")
    mode = filters.ChoiceFilter(choices=Mode.choices, help_text="Which mode.")
    backend = filters.CharFilter(help_text="Name of a backend, for bypasses.")
    state = filters.ChoiceFilter(choices=ModeChangeState.choices, help_text="How it stands.")
    source = filters.ChoiceFilter(choices=ModeSource.choices, help_text="What it came from.")
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
