"""Filters of the lists of the fleet."""

from django_filters import rest_framework as filters

from controlplane.fleet.models import ROLE_CHOICES, Agent, Dialect, Engine, EnrolmentToken, Health


class EngineFilter(filters.FilterSet):
    """`?name=`."""

    name = filters.CharFilter(help_text="The whole name.")

    class Meta:
        model = Engine
        fields = ["name"]


class AgentFilter(filters.FilterSet):
    """`?engine=&role=&dialect=&name=&health=&left=`."""

    name = filters.CharFilter(help_text="The whole name.")
    engine = filters.CharFilter(field_name="engine__name", help_text="Name of an engine.")
    role = filters.ChoiceFilter(choices=ROLE_CHOICES, help_text="Which role.")
    dialect = filters.ChoiceFilter(choices=Dialect.choices, help_text="Which program answers.")
    health = filters.ChoiceFilter(choices=Health.choices, help_text="What is known of the process.")
    left = filters.BooleanFilter(
        field_name="left_at",
        lookup_expr="isnull",
        exclude=True,
        help_text="Whether its process said that it ends.",
    )

    class Meta:
        model = Agent
        fields = ["name", "engine", "role", "dialect", "health", "left"]


class EnrolmentTokenFilter(filters.FilterSet):
    """`?revoked=`."""

    revoked = filters.BooleanFilter(
        field_name="revoked_at",
        lookup_expr="isnull",
        exclude=True,
        help_text="Whether it is revoked.",
    )

    class Meta:
        model = EnrolmentToken
        fields = ["revoked"]
