"""Snapshots of chunk statistics in the admin: to read."""

from django.contrib import admin

from controlplane.rest.admin import ReadOnlyModelAdmin
from controlplane.statistics.models import ChunkStatisticsSnapshot


@admin.register(ChunkStatisticsSnapshot)
class ChunkStatisticsSnapshotAdmin(ReadOnlyModelAdmin):
    """What agents had counted, moment by moment."""

    list_display = (
        "taken_at",
        "agent",
        "engine",
        "trigger",
        "run",
        "enabled",
        "total_requests",
        "total_chunks",
        "unique_chunks",
        "reuse_rate",
        "resolution_s",
    )
    list_filter = ("trigger", "enabled", "resolution_s", "taken_at")
    search_fields = ("=agent", "=engine", "boot_id")
    # There is a row for each agent and interval; counting them all for a page takes long.
    show_full_result_count = False
