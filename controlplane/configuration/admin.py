"""Configuration revisions in the admin: to read, and to roll back to."""

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from controlplane.adminsite import show
from controlplane.adminsite.confirming import ConfirmingAdmin
from controlplane.adminsite.filters import BeforeFilter, exact
from controlplane.adminsite.lists import LongListAdmin
from controlplane.adminsite.pages import Tool
from controlplane.adminsite.revisions import RollBackRevision
from controlplane.configuration.models import ConfigRevision, ConfigSchema
from controlplane.rest.admin import ReadOnlyModelAdmin


@admin.register(ConfigRevision)
class ConfigRevisionAdmin(LongListAdmin, ConfirmingAdmin):
    """What each agent's configuration should be, was, and was refused to be."""

    reads = "config-revisions"
    confirmations = (RollBackRevision(),)
    list_display = (
        "revision",
        "agent_link",
        "state_mark",
        "source",
        "changed_keys",
        "actor_name",
        "reason",
        "created_at",
    )
    list_filter = (
        exact("agent"),
        "state",
        "source",
        exact("actor_name", title="actor"),
        BeforeFilter,
    )
    searched = ("agent", "actor_name", "operation_id")
    search_help_text = "The whole name of an agent or an actor, or an operation."
    readonly_fields = (
        *("agent_link", "state_mark", "changes", "restored", "made_from", "operation_link"),
        *("asked", "all_values", "not_set", "request_link"),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    *("agent_link", "number", "state_mark", "source", "reason", "actor_name"),
                    *("created_at", "settled_at"),
                )
            },
        ),
        ("What changed", {"fields": ("made_from", "restored", "changes", "not_set")}),
        ("Where it comes from", {"fields": ("operation_link", "request_link", "asked")}),
        (
            "Everything",
            {"fields": ("all_values", "complete", "deadline_at"), "classes": ("collapse",)},
        ),
    )

    def tools(self, request: HttpRequest, record: ConfigRevision) -> list[Tool]:
        """Rolling back, and the agent's other revisions."""
        others = show.list_url("configuration_configrevision", agent=record.agent)
        return [*super().tools(request, record), Tool("All revisions of the agent", others)]

    @admin.display(description="number")
    def revision(self, revision: ConfigRevision) -> str:
        """Its number."""
        return f"r{revision.number}"

    @admin.display(description="agent")
    def agent_link(self, revision: ConfigRevision) -> SafeString:
        """Its agent."""
        return show.agent(revision.agent)

    @admin.display(description="state")
    def state_mark(self, revision: ConfigRevision) -> SafeString:
        """Its state."""
        return show.state(revision.state)

    @admin.display(description="changed keys")
    def changed_keys(self, revision: ConfigRevision) -> str:
        """The first keys that differ from the parent."""
        keys = sorted(revision.diff)
        if revision.parent is None:
            return f"all {len(revision.values)}"
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        return ", ".join(keys[:3]) + more or show.NOTHING

    @admin.display(description="difference")
    def changes(self, revision: ConfigRevision) -> SafeString:
        """Key, from, to."""
        return show.difference(revision.diff)

    @admin.display(description="made from")
    def made_from(self, revision: ConfigRevision) -> SafeString:
        """The parent."""
        return _numbered(revision.agent, revision.parent)

    @admin.display(description="restores")
    def restored(self, revision: ConfigRevision) -> SafeString:
        """The revision whose values a rollback restored."""
        return _numbered(revision.agent, revision.restored_from)

    @admin.display(description="operation")
    def operation_link(self, revision: ConfigRevision) -> SafeString:
        """The operation that made it."""
        return show.operation(revision.operation_id)

    @admin.display(description="request")
    def request_link(self, revision: ConfigRevision) -> SafeString:
        """Everything in the request that made it."""
        return show.list_of("audit_auditentry", revision.request_id, request_id=revision.request_id)

    @admin.display(description="asked for")
    def asked(self, revision: ConfigRevision) -> SafeString:
        """What the caller sent, without secrets."""
        return show.document(revision.requested)

    @admin.display(description="values")
    def all_values(self, revision: ConfigRevision) -> SafeString:
        """Every key, without secrets."""
        return show.document(revision.values)

    @admin.display(description="refused")
    def not_set(self, revision: ConfigRevision) -> SafeString:
        """Keys that were not set, and why not."""
        return show.document(revision.refused)


@admin.register(ConfigSchema)
class ConfigSchemaAdmin(ReadOnlyModelAdmin):
    """What agents say about their configuration keys."""

    reads = "config-revisions"
    list_display = ("agent_link", "key_count", "read_at")
    list_display_links = ("key_count",)
    search_fields = ("agent",)
    search_help_text = "Part of an agent's name."
    ordering = ("agent",)
    readonly_fields = ("agent_link", "all_keys")
    fields = ("agent_link", "read_at", "all_keys")

    @admin.display(description="agent", ordering="agent")
    def agent_link(self, schema: ConfigSchema) -> SafeString:
        """Its agent."""
        return show.agent(schema.agent)

    @admin.display(description="keys")
    def key_count(self, schema: ConfigSchema) -> int:
        """How many keys it has."""
        return len(schema.keys)

    @admin.display(description="keys")
    def all_keys(self, schema: ConfigSchema) -> SafeString:
        """The keys with type, range, default and help."""
        return show.document(schema.keys)


def _numbered(agent: str, number: int | None) -> SafeString:
    if number is None:
        return SafeString(show.NOTHING)
    found = ConfigRevision.objects.filter(agent=agent, number=number).values_list("pk", flat=True)
    pk = found.first()
    if pk is None:
        return SafeString(f"r{number}")
    return show.link(show.change_url("configuration_configrevision", pk), f"r{number}")
