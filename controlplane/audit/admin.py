"""The audit log in the admin: to read."""

from django.contrib import admin

from controlplane.audit.models import AuditEntry, ForwardingCursor
from controlplane.rest.admin import ReadOnlyModelAdmin


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyModelAdmin):
    """Who asked for what, when, why, and what came of it."""

    list_display = ("created_at", "action", "stage", "actor_name", "agent", "outcome", "reason")
    list_filter = ("stage", "outcome", "action", "actor_kind", "created_at")
    search_fields = ("action", "actor_name", "agent", "reason", "request_id", "=operation_id")
    # The log grows without bound; counting it for every page would too.
    show_full_result_count = False


@admin.register(ForwardingCursor)
class ForwardingCursorAdmin(ReadOnlyModelAdmin):
    """How far entries were forwarded."""

    list_display = ("name", "last_id", "delivered_at", "attempts", "last_error")
