"""Operations: all of them, and one."""

from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import ClassVar
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import UserRole
from controlplane.audit.actors import ActorKind
from controlplane.dashboard.forms import ReasonForm
from controlplane.dashboard.paging import page_of
from controlplane.dashboard.progress import progress_in, progress_of, waves_of
from controlplane.dashboard.rollbacks import (
    Outcome,
    is_to_be_offered,
    is_under_way,
    preview_rollback,
    take_back_and_wait,
)
from controlplane.dashboard.views.base import DashboardView
from controlplane.middleware import request_id_of
from controlplane.operations.cancelling import AlreadyFinished, cancel
from controlplane.operations.effects import Wishes
from controlplane.operations.filters import OperationFilter
from controlplane.operations.models import Operation, State
from controlplane.operations.planning import (
    RetriedAlready,
    agents_to_repeat,
    plan_retry,
    retries_of,
)
from controlplane.operations.runner import shared_runner
from controlplane.rest.pagination import StrictCursorPagination
from engine.contract import CATALOGUE, ContractError

_MOST_TARGETS = 500
_ACTIONS = sorted({entry.action for entry in CATALOGUE if entry.action is not None})


class OperationsPage(DashboardView):
    """What was asked for, newest first."""

    reads = "operations"
    section = "operations"

    def get(self, request: HttpRequest) -> HttpResponse:
        """One page of the list."""
        filters = OperationFilter(request.GET, queryset=Operation.objects.order_by("-id"))
        is_valid = filters.is_valid()
        rows = filters.qs if is_valid else Operation.objects.none()
        listed = page_of(StrictCursorPagination(), rows, request)
        progress = progress_of(operation.pk for operation in listed.rows)
        context: dict[str, object] = {
            "listed": listed,
            "operations": [(row, progress[row.pk]) for row in listed.rows],
            "filters": filters.form,
            "is_filtered": any(filters.form.data.get(name) for name in filters.form.fields),
        }
        if self.is_part():
            return self.part("dashboard/_operations.html", context)
        context |= {"actions": _ACTIONS, "states": State.values}
        status = HTTPStatus.OK if is_valid else HTTPStatus.BAD_REQUEST
        return self.page("dashboard/operations.html", context, status)


class OperationPage(DashboardView):
    """One operation, with the outcome for every agent."""

    reads = "operations"
    section = "operations"

    def get(self, request: HttpRequest, operation_id: UUID) -> HttpResponse:
        """How far it is."""
        operation = _find(operation_id)
        waves = waves_of(operation, _MOST_TARGETS)
        progress = progress_in(waves)
        is_final = State(operation.state).is_final
        by_people = operation.actor_kind != ActorKind.CONTROLLER and operation.undo_of is None
        can_roll_back = is_to_be_offered(operation)
        retries = retries_of(operation) if progress.failed else []
        context: dict[str, object] = {
            "operation": operation,
            "waves": waves,
            "progress": progress,
            "hidden": sum(wave.hidden for wave in waves),
            "expires_at": Wishes.of(operation.options).expires_at,
            "retries": retries,
            "is_final": is_final,
            "can_cancel": not is_final and operation.cancel_requested_at is None,
            "can_retry": is_final
            and by_people
            and progress.failed > 0
            and all(retry.state == State.CANCELLED for retry in retries),
            "can_roll_back": can_roll_back,
            "is_moving": not is_final or (can_roll_back and is_under_way(operation)),
        }
        if self.is_part():
            return self.part("dashboard/_operation.html", context)
        return self.page("dashboard/operation.html", context)


class ReasonPage(DashboardView, ABC):
    """Asks why something is done about an operation, and does it."""

    reads = "operations"
    section = "operations"
    template: ClassVar[str]

    def get(self, request: HttpRequest, operation_id: UUID) -> HttpResponse:
        """Ask."""
        operation = _find(operation_id)
        if not self.may(UserRole.OPERATOR):
            return redirect("dashboard:operation", operation.pk)
        return self._ask(operation, ReasonForm())

    def post(self, request: HttpRequest, operation_id: UUID) -> HttpResponse:
        """Do it, and go where it is to be seen."""
        operation = _find(operation_id)
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._ask(operation, form, HTTPStatus.BAD_REQUEST)
        try:
            shown = self.carry_out(request, operation, form)
        except ContractError as error:
            messages.error(request, error.message)
            return _to(operation)
        return _to(shown)

    @abstractmethod
    def carry_out(self, request: HttpRequest, operation: Operation, form: ReasonForm) -> Operation:
        """Do it, and return the operation to be shown. The form is valid. Raises
        ContractError."""

    @abstractmethod
    def about(self, operation: Operation) -> dict[str, object]:
        """What the page that asks says about it."""

    def _ask(
        self, operation: Operation, form: ReasonForm, status: HTTPStatus = HTTPStatus.OK
    ) -> HttpResponse:
        context = {"operation": operation, "form": form, **self.about(operation)}
        return self.page(self.template, context, status)


class ExplainedPage(ReasonPage):
    """Says in a sentence what will happen."""

    template = "dashboard/ask_reason.html"
    title: ClassVar[str]
    explanation: ClassVar[str]
    verb: ClassVar[str]
    """The name of its address, and of the button that leads there."""

    def about(self, operation: Operation) -> dict[str, object]:
        """The sentence and where the form is sent, or why there is none."""
        context: dict[str, object] = {
            "title": self.title,
            "explanation": self.explanation,
            "url": reverse(f"dashboard:{self.verb}", args=[operation.pk]),
        }
        try:
            context["agents"] = self.concerned(operation)
        except ContractError as error:
            context["refused"] = error.message
        return context

    @abstractmethod
    def concerned(self, operation: Operation) -> list[str]:
        """The agents that it is about. Raises ContractError with why nothing can be done."""


class CancelOperation(ExplainedPage):
    """Call no further agent."""

    title = "Cancel"
    explanation = "No further agent is called. Those that were called are waited for."
    verb = "cancel"

    def concerned(self, operation: Operation) -> list[str]:
        """Those that were not called yet. Raises AlreadyFinished."""
        if State(operation.state).is_final:
            raise AlreadyFinished(operation)
        waiting = operation.targets.filter(state=State.PENDING).order_by("agent")
        return list(waiting.values_list("agent", flat=True))

    def carry_out(self, request: HttpRequest, operation: Operation, form: ReasonForm) -> Operation:
        """Ask for it. Raises AlreadyFinished."""
        cancelled = cancel(
            operation,
            actor=user_actor(request),
            request_id=request_id_of(request),
            reason=form.cleaned_data["reason"],
        )
        messages.success(request, "No further agents are called.")
        return cancelled


class RetryOperation(ExplainedPage):
    """Call the agents again for which it failed."""

    title = "Retry"
    explanation = "The same call is made again on the agents that failed, as a new operation."
    verb = "retry"

    def concerned(self, operation: Operation) -> list[str]:
        """Those that failed and are still there. Raises NothingToRetry, NotForPeople and
        RetriedAlready."""
        repeated = agents_to_repeat(operation)
        for retry in retries_of(operation):
            if not State(retry.state).is_final:
                raise RetriedAlready(operation, retry)
        return [agent.name for agent in repeated]

    def carry_out(self, request: HttpRequest, operation: Operation, form: ReasonForm) -> Operation:
        """Make another operation. Raises what plan_retry() raises."""
        retry = plan_retry(
            operation,
            actor=user_actor(request),
            request_id=request_id_of(request),
            reason=form.cleaned_data["reason"],
            key=form.cleaned_data["key"],
        )
        shared_runner().start(retry)
        return retry


class RollbackPage(ReasonPage):
    """What taking an operation back would send to whom, and why."""

    template = "dashboard/rollback.html"

    def carry_out(self, request: HttpRequest, operation: Operation, form: ReasonForm) -> Operation:
        """Take it back, and tell what came of it. Raises what take_back_and_wait() raises."""
        outcome = take_back_and_wait(
            operation,
            actor=user_actor(request),
            reason=form.cleaned_data["reason"],
            request_id=request_id_of(request),
        )
        _tell(request, outcome)
        return operation

    def about(self, operation: Operation) -> dict[str, object]:
        """What is sent to whom."""
        return {"preview": preview_rollback(operation)}


def _find(operation_id: UUID) -> Operation:
    found = Operation.objects.filter(pk=operation_id).first()
    if found is None:
        raise Http404(f"There is no operation {operation_id}.")
    return found


def _to(operation: Operation) -> HttpResponse:
    return HttpResponseRedirect(reverse("dashboard:operation", args=[operation.pk]))


def _tell(request: HttpRequest, outcome: Outcome) -> None:
    count = outcome.expected
    agents = "1 agent" if count == 1 else f"{count} agents"
    if not outcome.is_over:
        messages.info(request, "It is being taken back; this page says how far that has come.")
    elif len(outcome.told) < count:
        messages.error(request, "It was not taken back everywhere; the server's log says why.")
    elif outcome.left:
        messages.warning(
            request, f"Not taken back on {len(outcome.left)} of {agents}; see below why."
        )
    else:
        messages.success(request, f"Taken back on {agents}.")
