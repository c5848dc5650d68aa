"""The control loop in the admin: to read."""

from django.contrib import admin

from controlplane.reconcile.models import Controller, Watch
from controlplane.rest.admin import ReadOnlyModelAdmin


@admin.register(Watch)
class WatchAdmin(ReadOnlyModelAdmin):
    """How each agent does, and whether it is as it should be."""

    list_display = ("agent", "policy", "polled_at", "missed", "drift_since", "gave_up_at")
    search_fields = ("agent__name",)
    list_select_related = ("agent",)


@admin.register(Controller)
class ControllerAdmin(ReadOnlyModelAdmin):
    """Control loops that run."""

    list_display = ("name", "agents", "seen_at", "alive_until", "cycle_ms")
