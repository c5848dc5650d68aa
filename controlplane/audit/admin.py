"""The audit log in the admin: to read, and to have verified."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.adminsite import show
from controlplane.adminsite.chain import badge, chain_context
from controlplane.adminsite.filters import (
    BeforeFilter,
    PeriodFilter,
    SinceFilter,
    UntilFilter,
    exact,
)
from controlplane.adminsite.lists import LongListAdmin
from controlplane.adminsite.pages import PageAdmin, Tool
from controlplane.audit import searching
from controlplane.audit.background import shared_verifier
from controlplane.audit.catalogue import ACTIONS, OUTCOMES
from controlplane.audit.models import AuditEntry, ForwardingCursor
from controlplane.middleware import request_id_of
from controlplane.rest.admin import ReadOnlyModelAdmin, has_role

_WAIT_SECONDS = 3.0


@admin.register(AuditEntry)
class AuditEntryAdmin(LongListAdmin, PageAdmin):
    """Who asked for what, when, why, and what came of it."""

    reads = "audit"
    change_list_template = "admin/kvplane/audit_list.html"
    list_display = (
        "number",
        "created_at",
        "action",
        "actor_name",
        "done_to",
        "outcome_mark",
        "reason",
        "belongs_to",
    )
    list_filter = (
        PeriodFilter,
        SinceFilter,
        UntilFilter,
        exact("action", suggestions=sorted(ACTIONS)),
        exact("actor_name", title="actor"),
        exact("agent"),
        exact("engine"),
        exact("target"),
        exact("outcome", suggestions=OUTCOMES),
        exact("operation_id", title="operation"),
        exact("request_id", title="request"),
        BeforeFilter,
    )
    searched = (
        *("pk", "action", "actor_name", "agent", "engine", "target", "request_id"),
        "operation_id",
    )
    search_help_text = (
        "The whole of a number, an action, an actor, an agent, an engine, a target, a request or "
        "an operation; otherwise text in what was changed, at least 3 characters."
    )
    readonly_fields = (
        *("agent_link", "operation_link", "request_link", "outcome_mark", "changes", "asked"),
        *("answered", "was", "became", "came_from", "browser", "for_whom", "took"),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    *("id", "created_at", "action", "stage", "outcome_mark", "status", "reason"),
                    *("actor_name", "agent_link", "engine", "target"),
                )
            },
        ),
        ("What belongs to it", {"fields": ("request_link", "operation_link")}),
        ("What changed", {"fields": ("changes", "asked", "answered")}),
        ("State before and after", {"fields": ("was", "became"), "classes": ("collapse",)}),
        (
            "Who called",
            {
                "fields": ("actor_kind", "actor_ref", "for_whom", "came_from", "browser", "took"),
                "classes": ("collapse",),
            },
        ),
        (
            "Place in the chain",
            {"fields": ("key_id", "previous", "mac"), "classes": ("collapse",)},
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        """The button that has the log verified."""
        verify = path(
            "verify/",
            self.admin_site.admin_view(self.verify_view),
            name="audit_auditentry_verify",
        )
        return [verify, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, with the state of the chain above it."""
        context = {**chain_context(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Have the log verified. A page does not wait for a long one: what is found is
        on record, and the badge shows it."""
        if not has_role(request, UserRole.ADMIN):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        is_done = shared_verifier().start(
            actor=user_actor(request),
            request_id=request_id_of(request),
            wait_seconds=_WAIT_SECONDS,
        )
        if is_done and not shared_verifier().progress().is_broken:
            found = badge()
            level = messages.SUCCESS if found.tone == "good" else messages.ERROR
            messages.add_message(request, level, f"Verified {found.entries} entries. {found.text}")
        elif not is_done:
            messages.info(request, "The log is being verified; the badge shows what is found.")
        return HttpResponseRedirect(reverse("admin:audit_auditentry_changelist"))

    def equal_to(self, rows: QuerySet[Any], values: Mapping[str, Any]) -> QuerySet[Any]:
        """The entries whose columns have exactly these values."""
        return searching.equal_to(rows, values)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By the exact value of a column; if none has it, by text in differences."""
        found, _ = super().get_search_results(request, queryset, search_term)
        term = search_term.strip()
        if len(term) < searching.MIN_TEXT or not found.query.is_empty():
            return found, False
        containing = searching.containing(queryset.order_by(), term)
        return containing.order_by(f"-{searching.number_of(containing)}"), False

    def tools(self, request: HttpRequest, record: AuditEntry) -> list[Tool]:
        """What belongs to it."""
        found = [Tool("Everything in this request", _of_request(record))]
        if record.operation_id is not None:
            operation = show.list_url("audit_auditentry", operation_id=record.operation_id)
            found.append(Tool("Everything of this operation", operation))
        return found

    @admin.display(description="number", ordering="id")
    def number(self, entry: AuditEntry) -> int:
        """Its place in the log."""
        return entry.pk

    @admin.display(description="done to")
    def done_to(self, entry: AuditEntry) -> SafeString | str:
        """The agent, the operation, or what else."""
        if entry.agent:
            return show.agent(entry.agent)
        if entry.operation_id is not None:
            url = show.change_url("operations_operation", entry.operation_id)
            return show.link(url, f"operation …{str(entry.operation_id)[-8:]}")
        return entry.target or show.NOTHING

    @admin.display(description="outcome")
    def outcome_mark(self, entry: AuditEntry) -> SafeString:
        """What came of it; of a change that was only asked for, just that."""
        return show.state(entry.outcome or entry.stage)

    @admin.display(description="belongs to")
    def belongs_to(self, entry: AuditEntry) -> SafeString:
        """Its request."""
        return show.link(_of_request(entry), "request")

    @admin.display(description="agent")
    def agent_link(self, entry: AuditEntry) -> SafeString:
        """Its agent."""
        return show.agent(entry.agent)

    @admin.display(description="operation")
    def operation_link(self, entry: AuditEntry) -> SafeString:
        """Its operation."""
        return show.operation(entry.operation_id)

    @admin.display(description="everything in this request")
    def request_link(self, entry: AuditEntry) -> SafeString:
        """All entries of its request."""
        return show.link(_of_request(entry), entry.request_id)

    @admin.display(description="difference")
    def changes(self, entry: AuditEntry) -> SafeString:
        """Key, from, to."""
        return show.difference(entry.diff)

    @admin.display(description="asked for")
    def asked(self, entry: AuditEntry) -> SafeString:
        """What was asked for, redacted."""
        return show.document(entry.request)

    @admin.display(description="answer")
    def answered(self, entry: AuditEntry) -> SafeString:
        """What came of it, redacted."""
        return show.document(entry.answer)

    @admin.display(description="before")
    def was(self, entry: AuditEntry) -> SafeString:
        """The state before."""
        return show.document(entry.before)

    @admin.display(description="after")
    def became(self, entry: AuditEntry) -> SafeString:
        """The state after."""
        return show.document(entry.after)

    @admin.display(description="source address")
    def came_from(self, entry: AuditEntry) -> str:
        """Where the call came from."""
        return entry.source_address

    @admin.display(description="user agent")
    def browser(self, entry: AuditEntry) -> str:
        """What the caller's program calls itself."""
        return entry.user_agent

    @admin.display(description="on behalf of")
    def for_whom(self, entry: AuditEntry) -> str:
        """For whom the caller said to act."""
        return entry.on_behalf_of

    @admin.display(description="duration (ms)")
    def took(self, entry: AuditEntry) -> float | None:
        """Milliseconds."""
        return entry.duration_ms


@admin.register(ForwardingCursor)
class ForwardingCursorAdmin(ReadOnlyModelAdmin):
    """How far entries were forwarded."""

    reads = "audit"
    list_display = ("name", "last_id", "delivered_at", "attempts", "last_error")


def _of_request(entry: AuditEntry) -> str:
    return show.list_url("audit_auditentry", request_id=entry.request_id)
