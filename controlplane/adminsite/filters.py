"""Filters of the admin's lists that look up indexes instead of listing all values."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.contrib.admin import ListFilter, SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from controlplane.audit import searching
from engine.contract import CATALOGUE

BEFORE = "before"
CHANGES = sorted({entry.action for entry in CATALOGUE if entry.action is not None})
_PERIODS = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last 24 hours", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
    "month": ("Last 30 days", timedelta(days=30)),
}
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

Narrow = Callable[[QuerySet[Any], str], QuerySet[Any]]
EqualTo = Callable[[QuerySet[Any], Mapping[str, Any]], QuerySet[Any]]


class TypedFilter(ListFilter, ABC):
    """A filter for a value that is typed, not chosen from a list of all there are."""

    template = "admin/typed_filter.html"
    parameter_name = ""
    input_type = "text"
    suggestions: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        given = params.pop(self.parameter_name, [""])
        self.value = str(given[-1] if isinstance(given, list) else given).strip()
        if self.value:
            self.used_parameters[self.parameter_name] = self.value

    def has_output(self) -> bool:
        """Always: anything may be typed."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """The one."""
        return [self.parameter_name]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """What the template needs: the other parameters, and how to be rid of this."""
        others = [
            (name, value)
            for name, values in changelist.filter_params.items()
            for value in (values if isinstance(values, list) else [values])
            if name != self.parameter_name
        ]
        if changelist.query:
            others.append(("q", changelist.query))
        yield {
            "selected": bool(self.value),
            "others": others,
            "query_string": changelist.get_query_string(remove=[self.parameter_name, "p"]),
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows that fit; none for a value that cannot be read."""
        if not self.value:
            return queryset
        try:
            return self.narrow(queryset, self.value)
        except (ValueError, ValidationError):
            return queryset.none()

    @abstractmethod
    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows that fit. Raises ValueError or ValidationError for a value that
        cannot be read."""


class ExactFilter(TypedFilter):
    """A filter for rows whose column of that name is exactly what is typed. The first of
    several may look up what the others ask for as well: see look_up_together()."""

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.values: Mapping[str, Any] = {self.parameter_name: self.value}
        self.equal_to: EqualTo = with_values

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows that have it."""
        return self.equal_to(queryset, self.values)


def with_values(rows: QuerySet[Any], values: Mapping[str, Any]) -> QuerySet[Any]:
    """Those whose columns have exactly these values."""
    return rows.filter(**values)


def look_up_together(specs: Iterable[ListFilter], equal_to: EqualTo) -> None:
    """Have all that the exact filters of a list ask for looked up at once, where the first
    of them would look up its own."""
    exact_ones = [spec for spec in specs if isinstance(spec, ExactFilter) and spec.value]
    asked = {spec.parameter_name: spec.value for spec in exact_ones}
    for spec in exact_ones:
        spec.values = {}
    for first in exact_ones[:1]:
        first.values, first.equal_to = asked, equal_to


def exact(
    name: str,
    *,
    title: str = "",
    narrow: Narrow | None = None,
    suggestions: Iterable[str] = (),
) -> type[TypedFilter]:
    """A filter for rows whose column `name` is exactly what is typed, or those that
    `narrow` finds."""
    members: dict[str, Any] = {
        "title": title or name.replace("_", " "),
        "parameter_name": name,
        "suggestions": tuple(suggestions),
    }
    bases: tuple[type, ...] = (ExactFilter,)
    if narrow is not None:
        bases = (TypedFilter,)
        members["narrow"] = lambda self, queryset, value: narrow(queryset, value)
    return type(f"{name.title().replace('_', '')}Filter", bases, members)


class BeforeFilter(TypedFilter):
    """Rows that are older than one."""

    title = "number below"
    parameter_name = BEFORE

    def has_output(self) -> bool:
        """Only where it was asked for: by the link at the end of the pages."""
        return bool(self.value)

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Rows with a smaller primary key."""
        return queryset.filter(pk__lt=value)


class SinceFilter(TypedFilter):
    """Audit entries from a moment on."""

    title = "from (UTC)"
    parameter_name = "since"
    input_type = "datetime-local"

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Entries at that moment or later."""
        return searching.since(queryset, _moment(value))


class UntilFilter(TypedFilter):
    """Audit entries before a moment."""

    title = "until (UTC)"
    parameter_name = "until"
    input_type = "datetime-local"

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Entries before that moment."""
        return searching.until(queryset, _moment(value))


class PeriodFilter(SimpleListFilter):
    """Audit entries of the last while, found by their numbers."""

    title = "time"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Hour, day, week, month."""
        return [(name, label) for name, (label, _) in _PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Entries of that while."""
        if self.value() not in _PERIODS:
            return queryset
        _, long = _PERIODS[str(self.value())]
        return searching.since(queryset, timezone.now() - long)


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError(text)
    return moment
