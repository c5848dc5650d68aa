"""Taking back what a finished operation did: what would be sent, and doing it while the
page waits for no longer than a person does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from django.conf import settings

from controlplane.audit.actors import Actor
from controlplane.background import run_and_wait
from controlplane.fleet.models import Agent
from controlplane.operations.effects import find_begun, is_undoable
from controlplane.operations.models import Operation, OperationTarget, State
from controlplane.operations.recalling import TakenBack, take_back, targets_to_take_back
from controlplane.operations.taking_back import may_be_taken_back
from controlplane.operations.undoing import PlannedCall, foresee_undo
from engine.contract import ContractError, endpoint

_MOST_FORESEEN = 100
_WAIT_S = 5.0


@dataclass(frozen=True)
class Foreseen:
    """What one agent would be sent; `problem` says why nothing would be, "" if something
    would."""

    agent: str
    call: PlannedCall | None
    problem: str = ""


@dataclass(frozen=True)
class Preview:
    """The agents in the order in which they are brought back, and those beyond the first
    hundred by name only."""

    foreseen: Sequence[Foreseen]
    further: Sequence[str]

    @property
    def total(self) -> int:
        """All agents of which something would be taken back."""
        return len(self.foreseen) + len(self.further)


@dataclass
class Outcome:
    """What came of it so far on how many agents; `is_over` once nothing more will."""

    expected: int
    told: list[TakenBack] = field(default_factory=list)
    is_over: bool = False

    @property
    def left(self) -> list[TakenBack]:
        """Where it was not done."""
        return [one for one in self.told if one.error is not None]


def is_to_be_offered(operation: Operation, targets: Sequence[OperationTarget]) -> bool:
    """Whether anything of the operation can still be taken back. No query."""
    return (
        State(operation.state).is_final
        and operation.undo_of is None
        and is_undoable(endpoint(operation.endpoint))
        and any(may_be_taken_back(target) for target in targets)
    )


def preview_rollback(operation: Operation) -> Preview:
    """What would be sent to whom, by what is on record. Raises NotToBeTakenBack. A few
    queries for each of the first hundred agents."""
    names = [row.agent for row in targets_to_take_back(operation)]
    shown, further = names[:_MOST_FORESEEN], names[_MOST_FORESEEN:]
    known = set(Agent.objects.filter(name__in=shown).values_list("name", flat=True))
    return Preview([_foresee(operation, name, known) for name in shown], further)


def take_back_and_wait(
    operation: Operation, *, actor: Actor, reason: str, request_id: str
) -> Outcome:
    """Take it back in another thread, and say how far that came within seconds. Raises
    NotToBeTakenBack."""
    outcome = Outcome(len(targets_to_take_back(operation)))
    work = partial(_take_back, outcome, operation, actor, reason, request_id)
    outcome.is_over = run_and_wait("take-back", work, _WAIT_S)
    return outcome


def _take_back(
    outcome: Outcome, operation: Operation, actor: Actor, reason: str, request_id: str
) -> None:
    outcome.told += take_back(
        operation,
        actor=actor,
        reason=reason,
        request_id=request_id,
        timeout=operation.timeout_s or settings.KVPLANE_AGENT_TIMEOUT,
    )


def _foresee(operation: Operation, agent: str, known: set[str]) -> Foreseen:
    if agent not in known:
        return Foreseen(agent, None, "It is not registered any more.")
    try:
        call = foresee_undo(find_begun(operation.pk, agent), agent)
    except ContractError as error:
        return Foreseen(agent, None, error.message)
    if call is None:
        return Foreseen(agent, None, "By what is on record there is nothing to send.")
    return Foreseen(agent, call)
