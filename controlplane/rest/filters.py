"""Filters that refuse what they do not understand instead of ignoring it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField
from drf_spectacular.drainage import set_override
from rest_framework.exceptions import ValidationError as InvalidRequest
from rest_framework.filters import OrderingFilter
from rest_framework.request import Request
from rest_framework.views import APIView

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


class StrictOrderingFilter(OrderingFilter):
    """`?ordering=-created_at`; a field that cannot be ordered by is 400."""

    def remove_invalid_fields(
        self, queryset: QuerySet[Any], fields: Iterable[str], view: APIView, request: Request
    ) -> list[str]:
        """The fields, all of them valid. Raises ValidationError (400)."""
        valid = [name for name, _ in self.get_valid_fields(queryset, view, {"request": request})]
        wanted = list(fields)
        for field in wanted:
            if field.removeprefix("-") not in valid:
                raise InvalidRequest(
                    {"ordering": [f"Cannot order by '{field[:40]}'; choose of {', '.join(valid)}."]}
                )
        return wanted

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """The parameter as the OpenAPI document has it."""
        names: list[str] = view.ordering_fields
        field = f"-?({'|'.join(names)})"
        return [
            {
                "name": self.ordering_param,
                "in": "query",
                "description": f"Fields to order by, of {', '.join(names)}; several with commas "
                "between them, descending with a `-` before them.",
                "schema": {"type": "string", "pattern": f"^{field}(,{field})*$"},
                "example": f"-{names[0]}",
            }
        ]


class BoundedDateTimeField(IsoDateTimeField):
    """A moment that every database can hold and convert to UTC."""

    def clean(self, value: Any) -> Any:
        try:
            moment = super().clean(value)
        except OverflowError:
            raise ValidationError("Give a date between 1970 and 9998.") from None
        if moment is not None and not _EARLIEST <= moment <= _LATEST:
            raise ValidationError("Give a date between 1970 and 9998.")
        return moment


class WholeNumberFilter(filters.NumberFilter):
    """A whole number; `help_text` is for the form and for the OpenAPI document."""

    field_class: type[forms.Field] = forms.IntegerField

    def __init__(self, *, help_text: str, **kwargs: Any) -> None:
        super().__init__(help_text=help_text, **kwargs)
        set_override(self, "field", {"type": "integer", "description": help_text})


class MomentFilter(filters.IsoDateTimeFilter):
    """A date and time in ISO 8601, UTC unless it says otherwise."""

    field_class: type[forms.Field] = BoundedDateTimeField


class HistoryFilter(filters.FilterSet):
    """For changes of desired state: by whom they were made, in which operation, and when."""

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
