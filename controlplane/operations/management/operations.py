"""What `manage.py operations` does."""

import uuid
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import ValidationError

from controlplane.commandline.changing import (
    add_change_options,
    add_reason,
    add_wait,
    told_of,
    wait_of,
)
from controlplane.commandline.foreseeing import shown_calls
from controlplane.commandline.outcomes import outcome_table, told_of_targets
from controlplane.commandline.planning import reason_of
from controlplane.commandline.reading import add_limit, add_timeout, limit_of, timeout_of
from controlplane.commandline.refusals import BadArgument
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.tables import pairs, table
from controlplane.commandline.told import Told
from controlplane.commandline.waiting import carry_out
from controlplane.fleet.models import Agent
from controlplane.operations.cancelling import AlreadyFinished, cancel
from controlplane.operations.errors import OperationNotFound
from controlplane.operations.filters import OperationFilter
from controlplane.operations.foreseeing import PlannedCall, foresee_undos
from controlplane.operations.models import Operation, State
from controlplane.operations.planning import agents_to_repeat, plan_retry
from controlplane.operations.recalling import TakenBack, take_back, targets_to_take_back
from controlplane.operations.serializers import OperationSerializer
from engine.contract import endpoint

_FILTERS = ("action", "state", "actor", "agent", "request_id", "since", "until")


class ListOperations(Verb):
    """The operations that fit filters."""

    name = "list"
    help = "List operations, the newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Filters, as the API has them."""
        parser.add_argument("--action", help="Such as freeze.enable.")
        parser.add_argument("--state", choices=State.values, help="How far they are.")
        parser.add_argument("--actor", metavar="NAME", help="Who asked for them.")
        parser.add_argument("--agent", metavar="NAME", help="An agent that takes part.")
        parser.add_argument("--request-id", metavar="ID", help="The request they came with.")
        parser.add_argument("--since", metavar="MOMENT", help="From then on, such as 2030-01-31.")
        parser.add_argument("--until", metavar="MOMENT", help="Until before then.")
        add_limit(parser)

    def run(self, run: Run) -> Told:
        """Ask nobody but the database."""
        given = {name: run.options[name] for name in _FILTERS if run.options[name]}
        chosen = OperationFilter(given, Operation.objects.prefetch_related("targets"))
        if not chosen.is_valid():
            raise ValidationError(chosen.errors)
        found = chosen.qs.order_by("-id")[: limit_of(run)]
        listed = [dict(OperationSerializer(operation).data) for operation in found]
        columns = ("id", "action", "state", "agents", "actor_name", "reason", "created_at")
        rows = (
            [len(one["targets"]) if name == "agents" else one[name] for name in columns]
            for one in listed
        )
        return Told({"operations": listed}, [table(columns, rows)])

    def reads(self, run: Run) -> str:
        """Operations."""
        return "operations"


class ShowOperation(Verb):
    """One operation."""

    name = "show"
    help = "Show an operation and what came of it on each agent."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which."""
        _add_id(parser)

    def run(self, run: Run) -> Told:
        """Ask nobody but the database. Raises OperationNotFound."""
        document = dict(OperationSerializer(_find(run.options)).data)
        targets = document["targets"]
        rest = {name: value for name, value in document.items() if name != "targets"}
        return Told(document, [pairs(rest), outcome_table(targets)])

    def reads(self, run: Run) -> str:
        """Operations."""
        return "operations"


class CancelOperation(Verb):
    """Calls an operation off."""

    name = "cancel"
    help = "Call no further agents. Those that were called are waited for by whoever carries it on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which, and why."""
        _add_id(parser)
        add_reason(parser)
        parser.add_argument("--dry-run", action="store_true", help="Say which agents are left.")

    def run(self, run: Run) -> Told:
        """Cancel. Raises OperationNotFound and AlreadyFinished."""
        operation, reason = _find(run.options), reason_of(run.options)
        if run.is_dry:
            return _foresee_cancel(operation)
        operation = cancel(operation, actor=run.actor, request_id=run.request_id, reason=reason)
        document = dict(OperationSerializer(operation).data)
        return Told(document, [f"operation {operation.pk}: {operation.state}, to be cancelled"])

    def is_change(self, run: Run) -> bool:
        """Unless it is a dry run."""
        return not run.is_dry


class RetryOperation(Verb):
    """Repeats what failed."""

    name = "retry"
    help = "Make the same change again on the agents on which it failed, as a new operation."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which, why, and how long to wait."""
        _add_id(parser)
        add_reason(parser)
        parser.add_argument("--dry-run", action="store_true", help="Say who would be called again.")
        add_wait(parser)

    def run(self, run: Run) -> Told:
        """Retry. Raises OperationNotFound, and what plan_retry() raises."""
        operation, reason, seconds = _find(run.options), reason_of(run.options), wait_of(run)
        if run.is_dry:
            return _foresee_retry(operation)
        retry = plan_retry(operation, actor=run.actor, request_id=run.request_id, reason=reason)
        return told_of(carry_out(retry, seconds))

    def is_change(self, run: Run) -> bool:
        """Unless it is a dry run."""
        return not run.is_dry


class TakeOperationBack(Verb):
    """Undoes what an operation did."""

    name = "rollback"
    help = (
        "Bring the agents of a finished operation back to where they were before it. What "
        "somebody changed since stays."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which, and why."""
        _add_id(parser)
        add_change_options(parser)
        add_timeout(parser)

    def run(self, run: Run) -> Told:
        """Take it back. Raises OperationNotFound and what take_back() raises."""
        operation, reason, timeout = _find(run.options), reason_of(run.options), timeout_of(run)
        if run.is_dry:
            return _foresee_rollback(operation)
        done = take_back(
            operation,
            actor=run.actor,
            reason=reason,
            request_id=run.request_id,
            timeout=timeout,
        )
        return told_of_targets({"operation": str(operation.pk)}, [_target(one) for one in done])

    def is_change(self, run: Run) -> bool:
        """Unless it is a dry run."""
        return not run.is_dry


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", help="The operation.")


def _find(options: Mapping[str, Any]) -> Operation:
    try:
        identifier = uuid.UUID(options["id"])
    except ValueError:
        raise BadArgument("ID", f"'{options['id']}' is not the id of an operation.") from None
    found = Operation.objects.prefetch_related("targets").filter(pk=identifier).first()
    if found is None:
        raise OperationNotFound(identifier)
    return found


def _foresee_cancel(operation: Operation) -> Told:
    if State(operation.state).is_final:
        raise AlreadyFinished(operation)
    waiting = operation.targets.filter(state=State.PENDING).values_list("agent", flat=True)
    document = {"dry_run": True, "operation": str(operation.pk), "not_called": list(waiting)}
    return Told(document, [f"These would not be called: {', '.join(waiting) or 'none'}."])


def _foresee_retry(operation: Operation) -> Told:
    asked = PlannedCall(endpoint(operation.endpoint), operation.query, operation.body)
    return _would_be_sent(
        operation, [(agent.name, agent.url, asked) for agent in agents_to_repeat(operation)]
    )


def _foresee_rollback(operation: Operation) -> Told:
    names = [row.agent for row in targets_to_take_back(operation)]
    urls = dict(Agent.objects.filter(name__in=names).values_list("name", "url"))
    return _would_be_sent(
        operation,
        [
            (one.agent, urls[one.agent], one.call)
            for one in foresee_undos(operation, names)
            if one.call is not None and one.agent in urls
        ],
    )


def _would_be_sent(operation: Operation, sent: list[tuple[str, str, PlannedCall]]) -> Told:
    calls: list[dict[str, object]] = [
        {
            "agent": name,
            "wave": 0,
            "method": call.endpoint.method,
            "url": f"{url}{call.endpoint.path}{f'?{call.query}' if call.query else ''}",
            "body": call.document,
        }
        for name, url, call in sent
    ]
    document = {"dry_run": True, "of": str(operation.pk), "calls": calls}
    return Told(document, shown_calls(calls))


def _target(done: TakenBack) -> dict[str, object]:
    state = State.SUCCEEDED if done.error is None else State.FAILED
    return {
        "agent": done.agent,
        "state": state.value,
        "status": 200 if done.error is None else done.error.status,
        "answer": None,
        "error": None if done.error is None else done.error.body(),
    }
