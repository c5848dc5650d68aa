"""Taking back what a finished operation did: of modes as an operation of its own, of
configurations by the revisions before."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from django.conf import settings

from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.modes.models import DesiredMode, Mode, ModeChange, ModeChangeState
from controlplane.modes.services import Switch
from controlplane.operations.effects import CONF_UPDATE, call_for
from controlplane.operations.models import Operation, State
from controlplane.operations.planning import Plan
from controlplane.operations.selecting import Selector
from engine.contract import ContractError, endpoint

_LONG = ("values", "sealed", "requested", "diff")


class NothingToTakeBack(ContractError):
    """No agent is still as the operation left it."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(
            409,
            "Nothing to roll back",
            f"Operation {operation.pk} changed nothing that still is as it left it.",
        )


@dataclass(frozen=True)
class Reversal:
    """The switch that an operation turned, and the agents on which that still holds."""

    switch: Switch
    value: bool
    """What they go back to."""
    agents: Sequence[str]

    def to_plan(self, reason: str) -> Plan:
        """The operation that turns it back."""
        operation_id, query = call_for(self.switch, value=self.value)
        return Plan(
            endpoint=endpoint(operation_id),
            selector=Selector(agents=tuple(self.agents)),
            parameters=dict(parse_qsl(query)),
            timeout_s=settings.KVPLANE_AGENT_TIMEOUT,
            reason=reason,
        )


@dataclass(frozen=True)
class MadeRevision:
    """A revision that an operation made, and the one before it, which may be restored."""

    made: ConfigRevision
    parent: ConfigRevision


def find_made_revisions(operation: Operation) -> list[MadeRevision]:
    """Where each agent that the operation gave another configuration, and that still has
    it, can go back to. Raises NothingToTakeBack. Two queries."""
    made = list(
        ConfigRevision.objects.filter(operation_id=operation.pk, state=RevisionState.ACTIVE)
        .exclude(parent=None)
        .defer(*_LONG)
        .order_by("agent")
    )
    parents = ConfigRevision.objects.filter(
        agent__in=[row.agent for row in made], number__in={row.parent for row in made}
    ).defer(*_LONG)
    known = {(row.agent, row.number): row for row in parents}
    if not made:
        raise NothingToTakeBack(operation)
    return [MadeRevision(row, known[row.agent, row.parent or 0]) for row in made]


def find_reversal(operation: Operation) -> Reversal:
    """What rolling the operation back would do: to agents that were otherwise before,
    and that nobody changed since. Raises NothingToTakeBack. Two queries."""
    changes = {
        change.pk: change
        for change in ModeChange.objects.filter(
            operation_id=operation.pk, state=ModeChangeState.APPLIED
        )
        if change.from_value != change.to_value
    }
    held = DesiredMode.objects.filter(change__in=changes).order_by("agent")
    agents = [row.agent for row in held]
    if not State(operation.state).is_final or not agents:
        raise NothingToTakeBack(operation)
    change = next(iter(changes.values()))
    switch = Switch(Mode(change.mode), change.backend)
    return Reversal(switch, not change.to_value, agents)


def is_of_configuration(operation: Operation) -> bool:
    """Whether each agent goes back by itself, to a revision of its own."""
    return operation.action == CONF_UPDATE


def can_be_taken_back(operation: Operation) -> bool:
    """Whether it is an operation of that kind at all. No query."""
    return (
        State(operation.state).is_final
        and operation.undo_of is None
        and (is_of_configuration(operation) or operation.action.split(".")[0] in Mode.values)
    )
