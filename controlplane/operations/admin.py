"""Operations in the admin: to read, to cancel, to retry and to take back."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from controlplane.adminsite import show
from controlplane.adminsite.confirming import ConfirmingAdmin
from controlplane.adminsite.filters import CHANGES, BeforeFilter, exact
from controlplane.adminsite.lists import LongListAdmin
from controlplane.adminsite.operations import ON_OPERATIONS
from controlplane.adminsite.pages import Tool
from controlplane.operations.models import Operation, OperationTarget, State

_TARGETS_SHOWN = 100
_NAMED = 3


def _on_agent(operations: QuerySet[Any], name: str) -> QuerySet[Any]:
    parts = OperationTarget.objects.filter(agent=name)
    return operations.filter(pk__in=parts.values("operation_id"))


@admin.register(Operation)
class OperationAdmin(LongListAdmin, ConfirmingAdmin):
    """Changes that were asked for, with the outcome for every agent."""

    reads = "operations"
    confirmations = ON_OPERATIONS
    panel_template = "admin/kvplane/operation_panel.html"
    list_display = (
        "created_at",
        "action",
        "state_mark",
        "on_agents",
        "actor_name",
        "reason",
    )
    list_filter = (
        "state",
        exact("agent", narrow=_on_agent),
        exact("action", suggestions=CHANGES),
        exact("actor_name", title="actor"),
        exact("request_id", title="request"),
        exact("undo_of", title="operation taken back"),
        BeforeFilter,
    )
    searched = ("id", "action", "actor_name", "request_id", "targets__agent")
    search_help_text = "The whole of an id, an action, an actor, a request or an agent's name."
    readonly_fields = (
        *("state_mark", "retries", "takes_back", "taken_back_by", "request_link", "call"),
        *("wave_plan", "chosen_by", "more"),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    *("id", "action", "state_mark", "reason", "actor_name", "on_behalf_of"),
                    *("created_at", "finished_at", "cancel_requested_at"),
                )
            },
        ),
        (
            "What belongs to it",
            {"fields": ("request_link", "retries", "takes_back", "taken_back_by")},
        ),
        (
            "The call",
            {
                "fields": (
                    *("endpoint", "query", "call", "more", "chosen_by", "wave_plan"),
                    *("concurrency", "timeout_s", "idempotency_key"),
                ),
                "classes": ("collapse",),
            },
        ),
        (
            "Who called",
            {
                "fields": ("actor_kind", "actor_ref", "source_address", "user_agent"),
                "classes": ("collapse",),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Operation]:
        """With the targets of a whole page in one query."""
        found: QuerySet[Operation] = super().get_queryset(request)
        return found.defer("sealed")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The page, with the first agents of each operation."""
        page = super().get_changelist_instance(request)
        operations = list(page.result_list)
        page.result_list = operations
        _attach_targets(operations)
        return page

    def tools(self, request: HttpRequest, record: Operation) -> list[Tool]:
        """What can be done, and its audit entries."""
        entries = show.list_url("audit_auditentry", operation_id=record.pk)
        return [*super().tools(request, record), Tool("Audit entries", entries)]

    def panel(self, request: HttpRequest, record: Operation) -> dict[str, object]:
        """How far it came on each agent."""
        counted = record.targets.order_by().values("state").annotate(agents=Count("id"))
        counts = {str(row["state"]): int(row["agents"]) for row in counted}
        return {
            "counts": [(show.state(state), counts[state]) for state in State if state in counts],
            "total": sum(counts.values()),
            "targets": record.targets.order_by("id")[:_TARGETS_SHOWN],
            "targets_url": show.list_url("operations_operationtarget", operation=record.pk),
            "is_open": not State(record.state).is_final,
        }

    @admin.display(description="state")
    def state_mark(self, operation: Operation) -> SafeString:
        """Its state."""
        return show.state(operation.state)

    @admin.display(description="agents")
    def on_agents(self, operation: Any) -> SafeString:
        """The first of its agents, and how many there are."""
        names, count = operation.first_agents
        links = ", ".join(show.agent(name) for name in names)
        more = f" and {count - len(names)} more" if count > len(names) else ""
        return SafeString(links + more)

    @admin.display(description="retries")
    def retries(self, operation: Operation) -> SafeString:
        """The operation whose failures it repeats."""
        return show.operation(operation.retry_of)

    @admin.display(description="takes back")
    def takes_back(self, operation: Operation) -> SafeString:
        """The operation that it takes back."""
        return show.operation(operation.undo_of)

    @admin.display(description="taken back by")
    def taken_back_by(self, operation: Operation) -> SafeString:
        """The operations that take it back."""
        count = Operation.objects.filter(undo_of=operation.pk)[:_TARGETS_SHOWN].count()
        if not count:
            return SafeString(show.NOTHING)
        told = "1 operation" if count == 1 else f"{count} operations"
        return show.list_of("operations_operation", told, undo_of=operation.pk)

    @admin.display(description="everything in this request")
    def request_link(self, operation: Operation) -> SafeString:
        """The audit entries of the request that asked for it."""
        number = operation.request_id
        return show.list_of("audit_auditentry", number, request_id=number)

    @admin.display(description="body")
    def call(self, operation: Operation) -> SafeString:
        """The body that each agent gets, without secrets."""
        return show.document(operation.body)

    @admin.display(description="strategy")
    def wave_plan(self, operation: Operation) -> SafeString:
        """Waves, pauses, failures that are borne."""
        return show.document(operation.strategy)

    @admin.display(description="selector")
    def chosen_by(self, operation: Operation) -> SafeString:
        """Who was to be called."""
        return show.document(operation.selector)

    @admin.display(description="options")
    def more(self, operation: Operation) -> SafeString:
        """What else was wished."""
        return show.document(operation.options)


@admin.register(OperationTarget)
class OperationTargetAdmin(LongListAdmin):
    """Operations' parts on one agent each."""

    reads = "operations"
    list_display = (
        "agent_link",
        "state_mark",
        "operation_link",
        "wave",
        "undone",
        "status",
        "why",
        "duration_ms",
    )
    list_display_links = ("state_mark",)
    list_filter = (exact("operation"), exact("agent"), BeforeFilter)
    searched = ("agent",)
    search_help_text = "The whole name of an agent."
    list_select_related = ("operation",)
    readonly_fields = ("agent_link", "state_mark", "operation_link", "answered", "failed")
    fields = (
        *("operation_link", "agent_link", "state_mark", "wave", "undone", "status"),
        *("duration_ms", "answered", "failed"),
    )

    @admin.display(description="agent")
    def agent_link(self, part: OperationTarget) -> SafeString:
        """Its agent."""
        return show.agent(part.agent)

    @admin.display(description="state")
    def state_mark(self, part: OperationTarget) -> SafeString:
        """Its state."""
        return show.state(part.state)

    @admin.display(description="operation")
    def operation_link(self, part: OperationTarget) -> SafeString:
        """Its operation."""
        operation = part.operation
        url = show.change_url("operations_operation", operation.pk)
        return show.link(url, f"{operation.action} {operation.pk}")

    @admin.display(description="message")
    def why(self, part: OperationTarget) -> str:
        """What was wrong."""
        told = part.error if isinstance(part.error, dict) else {}
        return str(told.get("message", ""))

    @admin.display(description="answer")
    def answered(self, part: OperationTarget) -> SafeString:
        """What the agent answered, without secrets."""
        return show.document(part.answer)

    @admin.display(description="error")
    def failed(self, part: OperationTarget) -> SafeString:
        """Why there is no answer."""
        return show.document(part.error)


def _attach_targets(operations: list[Any]) -> None:
    """Give each operation the names of its first agents and how many there are, in two
    queries for the page."""
    keys = [operation.pk for operation in operations]
    parts = OperationTarget.objects.filter(operation__in=keys)
    counted = parts.order_by().values("operation").annotate(agents=Count("id"))
    counts = {row["operation"]: row["agents"] for row in counted}
    few = [key for key in keys if counts.get(key, 0) <= _TARGETS_SHOWN]
    names: dict[Any, list[str]] = {key: [] for key in keys}
    for key, name in parts.filter(operation__in=few).values_list("operation", "agent"):
        if len(names[key]) < _NAMED:
            names[key].append(name)
    for operation in operations:
        operation.first_agents = (names[operation.pk], counts.get(operation.pk, 0))
