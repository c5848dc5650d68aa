"""Modes in the admin: to read."""

from django.contrib import admin

from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.rest.admin import ReadOnlyModelAdmin


@admin.register(DesiredMode)
class DesiredModeAdmin(ReadOnlyModelAdmin):
    """What the modes of each agent should be now."""

    list_display = ("agent", "mode", "backend", "value", "since", "expires_at")
    list_filter = ("mode", "value")
    search_fields = ("agent", "backend")
    list_select_related = ("change",)


@admin.register(ModeChange)
class ModeChangeAdmin(ReadOnlyModelAdmin):
    """Every change of freeze, hot cache and bypasses."""

    list_display = (
        "created_at",
        "agent",
        "mode",
        "backend",
        "from_value",
        "to_value",
        "state",
        "actor_name",
        "reason",
        "expires_at",
    )
    list_filter = ("mode", "state", "source", "created_at")
    search_fields = ("agent", "backend", "actor_name", "reason", "request_id", "=operation_id")
    show_full_result_count = False
