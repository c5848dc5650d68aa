"""What can be done with operations from the admin."""

from collections.abc import Sequence
from functools import partial

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from controlplane.accounts.actors import user_actor
from controlplane.adminsite.confirming import SHOWN, Confirmation
from controlplane.adminsite.forms import KeyedForm, ReasonForm
from controlplane.adminsite.outcomes import WAIT_SECONDS, tell
from controlplane.audit.actors import Actor
from controlplane.background import run_and_wait
from controlplane.middleware import request_id_of
from controlplane.operations.cancelling import cancel
from controlplane.operations.effects import is_undoable
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.planning import plan_retry
from controlplane.operations.recalling import TakenBack, take_back, targets_to_take_back
from controlplane.operations.waiting import start_and_wait
from engine.contract import ContractError, endpoint

_TOLD = 10
_FAILED = (State.FAILED, State.PARTIALLY_FAILED, State.UNKNOWN)


class CancelOperations(Confirmation):
    """No further agent is called."""

    name = "cancel"
    label = "Cancel"
    at_most = 100

    def fits(self, record: Operation) -> bool:
        """Only what is under way."""
        return not State(record.state).is_final

    def explain(self, records: Sequence[Operation]) -> str:
        """What will happen."""
        return "No further agent is called. Those that were called already are waited for."

    def carry_out(
        self, request: HttpRequest, records: Sequence[Operation], form: ReasonForm
    ) -> HttpResponse:
        """Cancel each; one that is finished already is told."""
        for operation in records:
            url = reverse("admin:operations_operation_change", args=[operation.pk])
            try:
                cancel(
                    operation,
                    actor=user_actor(request),
                    request_id=request_id_of(request),
                    reason=form.cleaned_data["reason"],
                )
            except ContractError as error:
                messages.warning(request, error.message)
            else:
                messages.success(
                    request,
                    format_html('Operation <a href="{}">{}</a> is cancelled.', url, operation.pk),
                )
        return HttpResponseRedirect(_after(records))


class RetryForm(KeyedForm, ReasonForm):
    """Why."""


class RetryOperation(Confirmation):
    """The agents on which it failed are called again."""

    name = "retry"
    label = "Retry failed agents"
    at_most = 1
    form_class = RetryForm

    def fits(self, record: Operation) -> bool:
        """Only what failed somewhere."""
        return State(record.state).is_final and record.state != State.SUCCEEDED

    def explain(self, records: Sequence[Operation]) -> str:
        """What will happen."""
        (operation,) = records
        return (
            f"The same call, {operation.action}, is made again on the agents on which it failed, "
            "as a new operation."
        )

    def context(self, request: HttpRequest, records: Sequence[Operation]) -> dict[str, object]:
        """Which agents."""
        failed = records[0].targets.filter(state__in=_FAILED)
        return _named_agents(list(failed))

    def carry_out(
        self, request: HttpRequest, records: Sequence[Operation], form: ReasonForm
    ) -> HttpResponse:
        """Plan the retry, carry it out, and tell what came of it."""
        retry = plan_retry(
            records[0],
            actor=user_actor(request),
            request_id=request_id_of(request),
            reason=form.cleaned_data["reason"],
            key=form.cleaned_data["key"],
        )
        return tell(request, start_and_wait(retry, WAIT_SECONDS))


class RollBackOperation(Confirmation):
    """What an operation did is taken back."""

    name = "roll_back"
    label = "Roll back"
    at_most = 1

    def fits(self, record: Operation) -> bool:
        """Only what was done, and can be taken back."""
        return State(record.state).is_final and is_undoable(endpoint(record.endpoint))

    def explain(self, records: Sequence[Operation]) -> str:
        """What will happen."""
        (operation,) = records
        return (
            f"What {operation.action} did is taken back: each agent gets what it had before, as "
            "an operation of its own. An agent that somebody changed since is left as it is."
        )

    def context(self, request: HttpRequest, records: Sequence[Operation]) -> dict[str, object]:
        """Which agents."""
        try:
            rows = targets_to_take_back(records[0])
        except ContractError as error:
            return {"unknown": error.message}
        return _named_agents(rows)

    def carry_out(
        self, request: HttpRequest, records: Sequence[Operation], form: ReasonForm
    ) -> HttpResponse:
        """Take it back in another thread, and tell what came of it so far."""
        (operation,) = records
        expected = len(targets_to_take_back(operation))
        told: list[TakenBack] = []
        work = partial(
            _take_back,
            told,
            operation,
            user_actor(request),
            form.cleaned_data["reason"],
            request_id_of(request),
        )
        if run_and_wait("take-back", work, WAIT_SECONDS):
            _tell_taken_back(request, told, expected)
        else:
            messages.info(request, "It is being taken back; this page says how far that has come.")
        return HttpResponseRedirect(_after(records))


ON_OPERATIONS: tuple[Confirmation, ...] = (
    CancelOperations(),
    RetryOperation(),
    RollBackOperation(),
)


def _take_back(
    told: list[TakenBack], operation: Operation, actor: Actor, reason: str, request_id: str
) -> None:
    told += take_back(
        operation,
        actor=actor,
        reason=reason,
        request_id=request_id,
        timeout=operation.timeout_s,
    )


def _tell_taken_back(request: HttpRequest, told: Sequence[TakenBack], expected: int) -> None:
    left = [one for one in told if one.error is not None]
    if len(told) < expected:
        messages.error(request, "It was not taken back everywhere; the server's log says why.")
    elif left:
        why = "; ".join(f"{one.agent}: {_message(one)}" for one in left[:_TOLD])
        messages.warning(request, f"Not taken back on {len(left)} of {expected} agents: {why}")
    else:
        messages.success(request, f"Taken back on {_agents(expected)}.")


def _message(taken: TakenBack) -> str:
    return "" if taken.error is None else taken.error.message


def _named_agents(rows: Sequence[OperationTarget]) -> dict[str, object]:
    names = [row.agent for row in rows]
    return {"named": names[:SHOWN], "named_more": max(0, len(names) - SHOWN)}


def _agents(count: int) -> str:
    return "1 agent" if count == 1 else f"{count} agents"


def _after(records: Sequence[Operation]) -> str:
    if len(records) == 1:
        return reverse("admin:operations_operation_change", args=[records[0].pk])
    return reverse("admin:operations_operation_changelist")
