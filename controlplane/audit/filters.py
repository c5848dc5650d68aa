"""Filters of the audit log."""

from datetime import datetime
from typing import Any

from django.core.validators import MinLengthValidator
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.constants import EMPTY_VALUES

from controlplane.audit import searching
from controlplane.audit.actors import ActorKind
from controlplane.audit.models import AuditEntry, Stage
from controlplane.rest.filters import MomentFilter, WholeNumberFilter


class AuditFilter(filters.FilterSet):
    """`?action=&actor=&actor_kind=&target=&agent=&engine=&operation=&request_id=&stage=&
    outcome=&status=&since=&until=&text=`."""

    action = filters.CharFilter(help_text="What was done, as entity.verb, such as freeze.enable.")
    actor = filters.CharFilter(
        field_name="actor_name",
        help_text="Name of whoever did it: a user, or user/token for a program.",
    )
    actor_kind = filters.ChoiceFilter(
        choices=ActorKind.choices, help_text="What whoever did it is."
    )
    target = filters.CharFilter(help_text="What it was done to.")
    agent = filters.CharFilter(help_text="Name of an agent.")
    engine = filters.CharFilter(help_text="Name of an engine.")
    operation = filters.UUIDFilter(field_name="operation_id", help_text="Id of an operation.")
    request_id = filters.CharFilter(help_text="What the header X-Request-ID said.")
    stage = filters.ChoiceFilter(
        choices=Stage.choices, help_text="Before a change, after it, or neither."
    )
    outcome = filters.CharFilter(help_text="What came of it, such as succeeded, failed or denied.")
    status = WholeNumberFilter(min_value=100, max_value=599, help_text="HTTP status of the answer.")
    since = MomentFilter(
        method="begin",
        help_text="This moment or later, such as 2026-01-31T12:00:00Z.",
    )
    until = MomentFilter(method="end", help_text="Before this moment.")
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

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Entries that fit all that is asked for; what equals something is looked up
        together, and with the text if there is one."""
        given = self._given()
        entries = queryset if "text" in given else searching.equal_to(queryset, self._equal())
        for name, value in given.items():
            if self.filters[name].method is not None:
                entries = self.filters[name].filter(entries, value)
        return entries

    def begin(self, entries: QuerySet[Any], name: str, value: datetime) -> QuerySet[Any]:
        """Entries at that moment or later."""
        return searching.since(entries, value)

    def end(self, entries: QuerySet[Any], name: str, value: datetime) -> QuerySet[Any]:
        """Entries before that moment."""
        return searching.until(entries, value)

    def search(self, entries: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Entries with that text in their difference, and with what else is asked for."""
        return searching.containing(entries, value, self._equal())

    def _given(self) -> dict[str, Any]:
        asked: dict[str, Any] = self.form.cleaned_data
        return {name: value for name, value in asked.items() if value not in EMPTY_VALUES}

    def _equal(self) -> dict[str, Any]:
        """By column, what equals something."""
        return {
            self.filters[name].field_name: value
            for name, value in self._given().items()
            if self.filters[name].method is None
        }
