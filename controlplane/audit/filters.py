"""Filters of the audit log."""

from datetime import datetime
from typing import Any

from django.core.validators import MinLengthValidator
from django.db.models import QuerySet
from django_filters import rest_framework as filters

from controlplane.audit import searching
from controlplane.audit.actors import ActorKind
from controlplane.audit.models import AuditEntry, Stage
from controlplane.rest.filters import MomentFilter, WholeNumberFilter


class AuditFilter(filters.FilterSet):
    """`?action=&actor=&actor_kind=&target=&agent=&engine=&operation=&request_id=&stage=&
    outcome=&status=&since=&until=&text=`."""

    action = filters.CharFilter()
    actor = filters.CharFilter(field_name="actor_name")
    actor_kind = filters.ChoiceFilter(choices=ActorKind.choices)
    target = filters.CharFilter()
    agent = filters.CharFilter()
    engine = filters.CharFilter()
    operation = filters.UUIDFilter(field_name="operation_id")
    request_id = filters.CharFilter()
    stage = filters.ChoiceFilter(choices=Stage.choices)
    outcome = filters.CharFilter()
    status = WholeNumberFilter(min_value=100, max_value=599)
    since = MomentFilter(method="begin")
    until = MomentFilter(method="end")
    text = filters.CharFilter(
        method="search",
        strip=False,
        validators=[MinLengthValidator(searching.MIN_TEXT)],
        help_text="Text in the difference between before and after, which is JSON: at least "
        "3 characters, whether in upper or lower case.",
    )

    class Meta:
        model = AuditEntry
        fields = [
            "action",
            "actor",
            "actor_kind",
            "target",
            "agent",
            "engine",
            "operation",
            "request_id",
            "stage",
            "outcome",
            "status",
            "since",
            "until",
            "text",
        ]

    def begin(self, entries: QuerySet[Any], name: str, value: datetime) -> QuerySet[Any]:
        """Entries at that moment or later."""
        return searching.since(entries, value)

    def end(self, entries: QuerySet[Any], name: str, value: datetime) -> QuerySet[Any]:
        """Entries before that moment."""
        return searching.until(entries, value)

    def search(self, entries: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Entries with that text in their difference."""
        return searching.containing(entries, value)
