"""Lists that cost the same however many rows there are: nothing counts all of them,
sorts them or searches them through."""

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet, UUIDField
from django.db.models.expressions import Combinable
from django.http import HttpRequest
from django.utils.functional import cached_property

from controlplane.adminsite.filters import BEFORE, look_up_together, with_values
from controlplane.rest.admin import ForgivingList, ReadOnlyModelAdmin

MOST = 10_000
"""Rows that are counted, and turned through page by page."""
_MAX_DIGITS = 18

# Generic for the type checker only: at run time django's class takes no argument.
if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator


class CappedPaginator(_Paginator):
    """Counts to MOST and no further."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, at most MOST."""
        return min(self._counted, MOST)

    @cached_property
    def is_capped(self) -> bool:
        """Whether there are more than were counted."""
        return self._counted > MOST

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        return int(rows[: MOST + 1].count())


class NewestFirst(ForgivingList):
    """In the order of the primary key and no other, which no index is missing for."""

    model_admin: "LongListAdmin"

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        """Whatever the URL asks for."""
        return ["-pk"]

    def get_filters(self, request: HttpRequest) -> tuple[Any, ...]:
        """As everywhere, but what equals something is looked up together."""
        found: tuple[Any, ...] = super().get_filters(request)
        look_up_together(found[0], self.model_admin.equal_to)
        return found

    @property
    def older_query(self) -> str:
        """The query string of the list from the last row of this page on; "" if the
        pages reach to the end anyway."""
        if not getattr(self.paginator, "is_capped", False) or not self.result_list:
            return ""
        last = list(self.result_list)[-1]
        return self.get_query_string({BEFORE: str(last.pk)}, remove=["p"])


class LongListAdmin(ReadOnlyModelAdmin):
    """For records that pile up. A search is for exact values of `searched`, each of
    which begins an index; a many-valued one is named with the model's own lookup."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by: ClassVar[tuple[str, ...]] = ()
    searched: ClassVar[tuple[str, ...]] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Newest first."""
        return NewestFirst

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Those that are shown to be searched."""
        return self.searched

    def equal_to(self, rows: QuerySet[Any], values: Mapping[str, Any]) -> QuerySet[Any]:
        """The rows whose columns have exactly these values."""
        return with_values(rows, values)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The rows in which one of the columns is exactly what was typed."""
        term = search_term.strip()
        if not term:
            return queryset, False
        hits = [column for column in self.searched if self._occurs(column, term)]
        if not hits:
            return queryset.none(), False
        found = Q()
        for column in hits:
            found |= self._condition(column, term)
        return queryset.filter(found), False

    def _occurs(self, column: str, term: str) -> bool:
        """Whether any row has it; asked first, so that the list is read by one index."""
        if not _fits(self.model, column, term):
            return False
        rows: QuerySet[Any] = self.model._default_manager.filter(self._condition(column, term))
        return rows.exists()

    def _condition(self, column: str, term: str) -> Q:
        """Through a subquery where the column is another table's: no row comes twice."""
        relation, _, name = column.partition("__")
        if not name:
            return Q(**{column: term})
        related = self.model._meta.get_field(relation)
        other: Any = related.related_model
        key = related.remote_field.attname
        return Q(pk__in=other._default_manager.filter(**{name: term}).values(key))


def _fits(model: type[Model], column: str, term: str) -> bool:
    """Whether the column could hold it at all."""
    if column == "pk":
        return term.isdecimal() and len(term) <= _MAX_DIGITS
    try:
        field = model._meta.get_field(column)
    except FieldDoesNotExist:
        return True
    # A computed column is of the type of what it computes.
    kind = getattr(field, "output_field", field)
    return not isinstance(kind, UUIDField) or _is_uuid(term)


def _is_uuid(term: str) -> bool:
    try:
        uuid.UUID(term)
    except ValueError:
        return False
    return True
