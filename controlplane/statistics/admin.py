"""Snapshots of statistics in the admin: to read."""

from django.contrib import admin
from django.utils.safestring import SafeString

from controlplane.adminsite import show
from controlplane.adminsite.filters import BeforeFilter, exact
from controlplane.adminsite.lists import LongListAdmin
from controlplane.statistics.models import (
    ChunkStatisticsSnapshot,
    Snapshot,
    TierStatisticsSnapshot,
)


class SnapshotAdmin(LongListAdmin):
    """What the pages of all kinds have in common."""

    list_filter = (exact("agent"), exact("engine"), BeforeFilter)
    searched = ("agent", "engine")
    search_help_text = "The whole name of an agent or an engine."

    @admin.display(description="agent")
    def agent_link(self, snapshot: Snapshot) -> SafeString:
        """Its agent."""
        return show.agent(snapshot.agent)


@admin.register(ChunkStatisticsSnapshot)
class ChunkStatisticsSnapshotAdmin(SnapshotAdmin):
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
    readonly_fields = ("agent_link", "counted")
    fields = (
        "agent_link",
        *("engine", "taken_at", "reported_at", "trigger", "boot_id", "run", "enabled", "strategy"),
        *("total_requests", "total_chunks", "unique_chunks", "duplicate_chunks", "reuse_rate"),
        *("counted", "resolution_s"),
    )

    @admin.display(description="reuse rate")
    def reuse(self, snapshot: ChunkStatisticsSnapshot) -> str:
        """As a percentage."""
        return f"{snapshot.reuse_rate:.1%}"

    @admin.display(description="counters")
    def counted(self, snapshot: ChunkStatisticsSnapshot) -> SafeString:
        """The agent's counters."""
        return show.document(snapshot.counters)


@admin.register(TierStatisticsSnapshot)
class TierStatisticsSnapshotAdmin(SnapshotAdmin):
    """What agents had counted of their tiers, moment by moment."""

    reads = "tier-statistics"
    list_display = (
        "taken_at",
        "agent_link",
        "engine",
        "trigger",
        "run",
        "hit_rates",
        "requested_tokens",
        "retrieved_tokens",
        "stored_tokens",
        "resolution_s",
    )
    readonly_fields = ("agent_link", "told")
    fields = (
        "agent_link",
        *("engine", "taken_at", "trigger", "boot_id", "run"),
        *("requested_tokens", "retrieved_tokens", "stored_tokens", "told", "resolution_s"),
    )

    @admin.display(description="hit rates since the run began")
    def hit_rates(self, snapshot: TierStatisticsSnapshot) -> str:
        """Of each tier that was asked for anything, as a percentage."""
        rates = (
            f"{name} {tier['hit_tokens'] / tier['looked_up_tokens']:.1%}"
            for name, tier in snapshot.tiers.items()
            if tier["looked_up_tokens"]
        )
        return ", ".join(rates) or show.NOTHING

    @admin.display(description="tiers")
    def told(self, snapshot: TierStatisticsSnapshot) -> SafeString:
        """The counts and levels of each tier."""
        return show.document(snapshot.tiers)
