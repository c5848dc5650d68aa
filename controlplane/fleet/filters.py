"""Filters of the lists of the fleet."""

from django_filters import rest_framework as filters

from controlplane.fleet.models import ROLE_CHOICES, Agent, Dialect, Engine, EnrolmentToken, Health


class EngineFilter(filters.FilterSet):
    """`?name=`."""

    name = filters.CharFilter()

    class Meta:
        model = Engine
        fields = ["name"]


class AgentFilter(filters.FilterSet):
    """`?engine=&role=&dialect=&name=&health=&left=`."""

    name = filters.CharFilter()
    engine = filters.CharFilter(field_name="engine__name")
    role = filters.ChoiceFilter(choices=ROLE_CHOICES)
    dialect = filters.ChoiceFilter(choices=Dialect.choices)
    health = filters.ChoiceFilter(choices=Health.choices)
    left = filters.BooleanFilter(
        field_name="left_at", lookup_expr="isnull", exclude=True, label="Whether its process ended"
    )

    class Meta:
        model = Agent
        fields = ["name", "engine", "role", "dialect", "health", "left"]


class EnrolmentTokenFilter(filters.FilterSet):
    """`?revoked=`."""

    revoked = filters.BooleanFilter(
        field_name="revoked_at", lookup_expr="isnull", exclude=True, label="Whether it is revoked"
    )

    class Meta:
        model = EnrolmentToken
        fields = ["revoked"]
