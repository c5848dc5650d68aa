"""Filters of the lists of users and tokens."""

from django_filters import rest_framework as filters

from controlplane.accounts.models import ApiToken, User, UserRole


class UserFilter(filters.FilterSet):
    """`?role=&is_active=&username=`."""

    role = filters.ChoiceFilter(choices=UserRole.choices, help_text="Which role.")
    username = filters.CharFilter(help_text="The name of a user.")
    is_active = filters.BooleanFilter(help_text="Whether they may log in.")

    class Meta:
        model = User
        fields = ["role", "username", "is_active"]


class TokenFilter(filters.FilterSet):
    """`?user=&role=&revoked=`."""

    user = filters.CharFilter(field_name="user__username", help_text="The name of a user.")
    role = filters.ChoiceFilter(choices=UserRole.choices, help_text="Which role.")
    revoked = filters.BooleanFilter(
        field_name="revoked_at",
        lookup_expr="isnull",
        exclude=True,
        help_text="Whether it is revoked.",
    )

    class Meta:
        model = ApiToken
        fields = ["user", "role", "revoked"]
