"""Filters of the lists of modes."""

from django_filters import rest_framework as filters

from controlplane.modes.models import (
    DesiredMode,
    Mode,
    ModeChange,
    ModeChangeState,
    ModeSource,
)
from controlplane.rest.filters import HistoryFilter


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


class ModeChangeFilter(HistoryFilter):
    """`?agent=&mode=&backend=&state=&source=&actor=&operation=&since=&until=`."""

    agent = filters.CharFilter(help_text="Name of an agent.")
    mode = filters.ChoiceFilter(choices=Mode.choices, help_text="Which mode.")
    backend = filters.CharFilter(help_text="Name of a backend, for bypasses.")
    state = filters.ChoiceFilter(choices=ModeChangeState.choices, help_text="How it stands.")
    source = filters.ChoiceFilter(choices=ModeSource.choices, help_text="What it came from.")

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
