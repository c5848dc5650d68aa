"""Snapshots of chunk statistics in the admin: to read."""

from django.contrib import admin
from django.utils.safestring import SafeString

from controlplane.adminsite import show
from controlplane.adminsite.filters import BeforeFilter, exact
from controlplane.adminsite.lists import LongListAdmin
from controlplane.statistics.models import ChunkStatisticsSnapshot


@admin.register(ChunkStatisticsSnapshot)
class ChunkStatisticsSnapshotAdmin(LongListAdmin):
    """What agents had counted, moment by moment."""

    reads = "chunk-statistics"
    list_display = (
        "taken_at",
        "agent_link",
        "engine",
        "trigger",
        "run",
        "enabled",
        "total_requests",
        "total_chunks",
        "unique_chunks",
        "reuse",
        "resolution_s",
    )
    list_filter = (exact("agent"), exact("engine"), BeforeFilter)
    searched = ("agent", "engine")
    search_help_text = "The whole name of an agent or an engine."
    readonly_fields = ("agent_link", "counted")
    fields = (
        "agent_link",
        *("engine", "taken_at", "reported_at", "trigger", "boot_id", "run", "enabled", "strategy"),
        *("total_requests", "total_chunks", "unique_chunks", "duplicate_chunks", "reuse_rate"),
        *("counted", "resolution_s"),
    )

    @admin.display(description="agent")
    def agent_link(self, snapshot: ChunkStatisticsSnapshot) -> SafeString:
        """Its agent."""
        return show.agent(snapshot.agent)

    @admin.display(description="reuse rate")
    def reuse(self, snapshot: ChunkStatisticsSnapshot) -> str:
        """As a percentage."""
        return f"{snapshot.reuse_rate:.1%}"

    @admin.display(description="counters")
    def counted(self, snapshot: ChunkStatisticsSnapshot) -> SafeString:
        """The agent's counters."""
        return show.document(snapshot.counters)
