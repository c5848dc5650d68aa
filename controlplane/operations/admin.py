"""Operations in the admin: to read."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from controlplane.operations.models import Operation, OperationTarget
from controlplane.rest.admin import ReadOnlyModelAdmin

# Generic for the type checker only: at run time django's class takes no argument.
if TYPE_CHECKING:
    _Inline = admin.TabularInline[OperationTarget, Operation]
else:
    _Inline = admin.TabularInline


class TargetInline(_Inline):
    """The outcomes of one operation."""

    model = OperationTarget
    fields = ("agent", "state", "status", "answer", "error", "duration_ms")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody may."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whoever may see the operation."""
        return True


@admin.register(Operation)
class OperationAdmin(ReadOnlyModelAdmin):
    """Changes that were asked for, with the outcome for every agent."""

    list_display = ("created_at", "action", "state", "actor_name", "reason", "finished_at", "id")
    list_filter = ("state", "action", "actor_kind", "created_at")
    search_fields = ("=id", "action", "actor_name", "reason", "request_id", "targets__agent")
    show_full_result_count = False
    inlines = (TargetInline,)
