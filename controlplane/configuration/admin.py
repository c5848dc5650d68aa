"""Configuration revisions in the admin: to read."""

from django.contrib import admin

from controlplane.configuration.models import ConfigRevision
from controlplane.rest.admin import ReadOnlyModelAdmin


@admin.register(ConfigRevision)
class ConfigRevisionAdmin(ReadOnlyModelAdmin):
    """What each agent's configuration should be, was, and was refused to be."""

    list_display = ("agent", "number", "state", "source", "actor_name", "reason", "created_at")
    list_filter = ("state", "source", "created_at")
    search_fields = ("agent", "actor_name", "reason", "request_id", "=operation_id")
    exclude = ("sealed",)
    show_full_result_count = False
