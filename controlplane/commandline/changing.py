"""Changes: a documented call that changes something on one agent or many, by the same way
as over the API."""

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import RenderableType

from controlplane.commandline.calls import (
    add_body,
    add_parameters,
    body_of,
    parameters_of,
    read_values,
)
from controlplane.commandline.durations import read_duration
from controlplane.commandline.exits import Exit
from controlplane.commandline.foreseeing import foresee
from controlplane.commandline.outcomes import exit_of, outcome_table, why_not
from controlplane.commandline.planning import add_rollout, plan_of
from controlplane.commandline.reading import add_timeout, ask
from controlplane.commandline.refusals import BadArgument
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.selecting import add_selector, agents_for, is_one, selector_of
from controlplane.commandline.told import Told
from controlplane.commandline.waiting import carry_out, left_to_controllers
from controlplane.fleet.models import Agent
from controlplane.operations.models import Operation, State
from controlplane.operations.planning import Plan, plan_operation
from controlplane.operations.serializers import OperationSerializer
from controlplane.operations.services import perform
from engine.contract import ContractError, Group, endpoint

_MODES = (Group.FREEZE, Group.HOT_CACHE, Group.BYPASS)


class Change(Verb):
    """Makes one documented change on the selected agents."""

    def __init__(self, name: str, operation_id: str) -> None:
        self.name = name
        self.endpoint = endpoint(operation_id)
        self.help = self.endpoint.description
        self.operation_ids = (operation_id,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The parameters of the call, selectors, and how it is done."""
        add_parameters(parser, self.endpoint)
        self.add_body(parser)
        add_selector(parser)
        add_change_options(parser)
        if self.endpoint.group in _MODES:
            _add_expiry(parser)
        add_timeout(parser)
        add_wait(parser)
        add_rollout(parser)

    def add_body(self, parser: ArgumentParser) -> None:
        """An argument for each field of the body."""
        add_body(parser, self.endpoint)

    def body(self, options: Mapping[str, Any]) -> dict[str, object] | None:
        """The body that is sent; None for a call without one. Raises BadArgument."""
        return body_of(self.endpoint, options)

    def refine(self, plan: Plan, options: Mapping[str, Any]) -> Plan:
        """The plan with what only this change can be told. Raises BadArgument."""
        return plan

    def is_change(self, run: Run) -> bool:
        """Unless it is a dry run, or a call that only asks."""
        if run.is_dry:
            return False
        try:
            return self._changes(run)
        except ContractError:
            return True

    def reads(self, run: Run) -> str:
        """The group of the endpoint, of a call that only asks."""
        return "" if run.is_dry else str(self.endpoint.group)

    def run(self, run: Run) -> Told:
        """Make the change, or say what would be sent."""
        if not self._changes(run):
            return ask(run, self.endpoint)
        parameters = parameters_of(self.endpoint, run.options)
        plan = plan_of(self.endpoint, parameters, self.body(run.options), run)
        plan = self.refine(plan, run.options)
        agents = agents_for(plan.selector, self.endpoint)
        if run.is_dry:
            return foresee(plan, agents)
        if _is_made_at_once(plan, run):
            return _make_at_once(plan, agents[0], run)
        if not plan.selector.describe():
            plan = replace(plan, selector=replace(plan.selector, agents=(agents[0].name,)))
        return _make_on_many(plan, run)

    def _changes(self, run: Run) -> bool:
        values = read_values(self.endpoint, parameters_of(self.endpoint, run.options))
        return self.endpoint.changes(values)


def add_change_options(parser: ArgumentParser) -> None:
    """What every change takes."""
    add_reason(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="Say what would be sent to whom, and send nothing."
    )


def add_reason(parser: ArgumentParser) -> None:
    """Why."""
    parser.add_argument("--reason", default="", help="Why; kept on record. At most 500 characters.")


def add_wait(parser: ArgumentParser) -> None:
    """How long to wait for an operation."""
    parser.add_argument(
        "--wait",
        metavar="TIME",
        help="Wait so long for the end, such as 30s; then the controllers go on with it. 0 leaves "
        "all of it to them. Default: until the end.",
    )


def wait_of(run: Run) -> float | None:
    """Seconds to wait; None: as long as it takes. Raises BadArgument."""
    given = run.options["wait"]
    return None if given is None else read_duration("--wait", given)


def told_of(operation: Operation) -> Told:
    """An operation with its outcomes, as far as it is."""
    document = OperationSerializer(operation).data
    targets = document["targets"]
    shown: list[RenderableType] = [
        outcome_table(targets),
        f"operation {operation.pk}: {operation.state}",
    ]
    if not State(operation.state).is_final:
        return Told(document, shown, Exit.STILL_RUNNING, left_to_controllers(operation))
    return Told(document, shown, exit_of(targets), why_not(targets))


def _is_made_at_once(plan: Plan, run: Run) -> bool:
    """One agent, no rollout, and nobody who wants to wait only so long: as a documented
    call over the API."""
    is_plain = not plan.strategy.describe() and run.options["wait"] is None
    return is_plain and is_one(selector_of(run.options))


def _make_at_once(plan: Plan, agent: Agent, run: Run) -> Told:
    call = plan.call()
    performed = perform(
        plan.endpoint,
        [agent],
        query=call.query,
        body=call.body,
        actor=run.actor,
        reason=plan.reason,
        request_id=run.request_id,
        timeout=plan.timeout_s,
        wishes=plan.wishes,
    )
    return told_of(performed.operation)


def _make_on_many(plan: Plan, run: Run) -> Told:
    if plan.wishes.expected_revision is not None:
        raise BadArgument("--expected-revision", "it goes with one agent, and without --wait.")
    seconds = wait_of(run)
    planned = plan_operation(plan, key="", actor=run.actor, request_id=run.request_id)
    return told_of(carry_out(planned.operation, seconds))


def _add_expiry(parser: ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--expires-in", metavar="TIME", help="After that, such as 20m, the change is reverted."
    )
    group.add_argument(
        "--expires-at", metavar="MOMENT", help="Then, such as 2030-01-31T12:00Z, it is reverted."
    )
