"""Telling what came of an operation, after the page that asked back."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from controlplane.operations.models import Operation, OperationTarget, State

_TOLD = 10
"""Agents whose outcome a message tells one by one."""
_LEVELS = {
    State.SUCCEEDED: messages.SUCCESS,
    State.PENDING: messages.INFO,
    State.RUNNING: messages.INFO,
}
WAIT_SECONDS = 5.0
"""How long a page waits for an operation over several agents."""


def tell(request: HttpRequest, operation: Operation) -> HttpResponse:
    """Show the operation, with a message about its outcome for each agent."""
    url = reverse("admin:operations_operation_change", args=[operation.pk])
    text = format_html(
        'Operation <a href="{}">{}</a> ({}) {}. {}',
        url,
        operation.pk,
        operation.action,
        _said(State(operation.state)),
        _told(operation),
    )
    messages.add_message(request, _LEVELS.get(State(operation.state), messages.WARNING), text)
    return HttpResponseRedirect(url)


def _said(state: State) -> str:
    if state.is_final:
        return str(state.value).replace("_", " ")
    return "is under way; this page says how far it has come"


def _told(operation: Operation) -> SafeString:
    rows = list(operation.targets.all()[: _TOLD + 1])
    if len(rows) > _TOLD:
        return SafeString("")
    return format_html_join("; ", "{}: {}", ((row.agent, outcome(row)) for row in rows))


def outcome(row: OperationTarget) -> str:
    """What came of it on one agent, with the reason if it failed."""
    why = row.error if isinstance(row.error, dict) else row.answer
    message = why.get("message") if isinstance(why, dict) else None
    told = str(row.state).replace("_", " ")
    failed = row.state not in (State.SUCCEEDED, State.PENDING, State.RUNNING)
    return f"{told} ({message})" if failed and message else told
