"""Modes in the admin: to read."""

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString

from controlplane.adminsite import show
from controlplane.adminsite.filters import BeforeFilter, exact
from controlplane.adminsite.lists import LongListAdmin
from controlplane.modes.models import DesiredMode, ModeChange
from controlplane.rest.admin import ReadOnlyModelAdmin


@admin.register(DesiredMode)
class DesiredModeAdmin(ReadOnlyModelAdmin):
    """What the modes of each agent should be now."""

    reads = "modes"
    list_display = ("agent_link", "mode", "backend", "on", "since", "expires_at", "change_link")
    list_display_links = ("mode",)
    list_filter = (exact("agent"), "mode", "value")
    search_fields = ("agent", "backend")
    search_help_text = "Part of the name of an agent or a backend."
    list_select_related = ("change",)
    readonly_fields = ("agent_link", "change_link")
    fields = (
        *("agent_link", "mode", "backend", "value", "since", "expires_at", "revert_to"),
        "change_link",
    )

    @admin.display(description="agent", ordering="agent")
    def agent_link(self, desired: DesiredMode) -> SafeString:
        """Its agent."""
        return show.agent(desired.agent)

    @admin.display(description="on", boolean=True, ordering="value")
    def on(self, desired: DesiredMode) -> bool:
        """Whether it should be on."""
        return desired.value

    @admin.display(description="changed by")
    def change_link(self, desired: DesiredMode) -> SafeString:
        """The change that made it so."""
        change = desired.change
        told = f"{change.actor_name}: {change.reason}" if change.reason else change.actor_name
        return show.link(show.change_url("modes_modechange", change.pk), told)


@admin.register(ModeChange)
class ModeChangeAdmin(LongListAdmin):
    """Every change of freeze, hot cache and bypasses."""

    reads = "mode-changes"
    list_display = (
        "created_at",
        "agent_link",
        "switch",
        "turned",
        "state_mark",
        "actor_name",
        "reason",
        "expires_at",
    )
    list_filter = (
        exact("agent"),
        "mode",
        "state",
        "source",
        exact("actor_name", title="actor"),
        BeforeFilter,
    )
    searched = ("agent", "actor_name", "operation_id")
    search_help_text = "The whole name of an agent or an actor, or an operation."
    readonly_fields = ("agent_link", "turned", "state_mark", "operation_link", "request_link")
    fields = (
        *("agent_link", "mode", "backend", "turned", "state_mark", "source", "reason"),
        *("actor_name", "created_at", "settled_at", "expires_at", "revert_to"),
        *("operation_link", "request_link"),
    )

    @admin.display(description="agent")
    def agent_link(self, change: ModeChange) -> SafeString:
        """Its agent."""
        return show.agent(change.agent)

    @admin.display(description="mode")
    def switch(self, change: ModeChange) -> str:
        """The mode, and the backend of a bypass."""
        return f"{change.get_mode_display()} {change.backend}".strip()

    @admin.display(description="turned")
    def turned(self, change: ModeChange) -> str:
        """From what to what."""
        return f"{_switch(change.from_value)} → {_switch(change.to_value)}"

    @admin.display(description="state")
    def state_mark(self, change: ModeChange) -> SafeString:
        """Its state."""
        return show.state(change.state)

    @admin.display(description="operation")
    def operation_link(self, change: ModeChange) -> SafeString:
        """The operation that made it."""
        return show.operation(change.operation_id)

    @admin.display(description="request")
    def request_link(self, change: ModeChange) -> SafeString:
        """Everything in the request that made it."""
        return show.list_of("audit_auditentry", change.request_id, request_id=change.request_id)


def _switch(value: Any) -> str:
    return {None: "unknown", True: "on", False: "off"}[value]
