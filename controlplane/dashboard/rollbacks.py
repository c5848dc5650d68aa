"""Taking back what a finished operation did: what would be sent, and doing it while the
page waits for no longer than a person does."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from controlplane.audit.actors import Actor
from controlplane.background import run_and_wait
from controlplane.fleet.models import Agent
from controlplane.operations.effects import is_undoable
from controlplane.operations.foreseeing import Foreseen, foresee_undos
from controlplane.operations.models import Operation, State
from controlplane.operations.recalling import TakenBack, take_back, targets_to_take_back
from controlplane.operations.taking_back import standing
from engine.contract import endpoint

_MOST_FORESEEN = 100
_WAIT_S = 5.0
_BETWEEN_AGENTS = timedelta(seconds=60)


@dataclass(frozen=True)
class Preview:
    """The agents in the order in which they are brought back, and those beyond the first
    hundred by name only."""

    foreseen: Sequence[Foreseen]
    further: Sequence[str]

    @property
    def called(self) -> int:
        """How many agents would be sent something; of those beyond the first hundred
        nobody has looked, and all of them count."""
        return sum(one.call is not None for one in self.foreseen) + len(self.further)


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


class _UnderWay:
    """The operations that this process takes back for a page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[UUID] = Counter()

    def __contains__(self, operation: UUID) -> bool:
        return self._counts[operation] > 0

    def add(self, operation: UUID, count: int) -> None:
        """So many more, or less."""
        with self._lock:
            self._counts[operation] += count


_under_way = _UnderWay()


def is_to_be_offered(operation: Operation) -> bool:
    """Whether anything of the operation can still be taken back. One query at most."""
    return (
        State(operation.state).is_final
        and operation.undo_of is None
        and is_undoable(endpoint(operation.endpoint))
        and standing(operation).exists()
    )


def is_under_way(operation: Operation) -> bool:
    """Whether a page of this process takes it back, or somebody took it back on an agent a
    moment ago and may go on with the next. One query at most."""
    if operation.pk in _under_way:
        return True
    lately = timezone.now() - _BETWEEN_AGENTS
    undos = Operation.objects.filter(undo_of=operation.pk)
    return undos.filter(Q(finished_at=None) | Q(finished_at__gte=lately)).exists()


def preview_rollback(operation: Operation) -> Preview:
    """What would be sent to whom, by what is on record. Raises NotToBeTakenBack. A handful
    of queries."""
    names = [row.agent for row in targets_to_take_back(operation)]
    shown, further = names[:_MOST_FORESEEN], names[_MOST_FORESEEN:]
    known = set(Agent.objects.filter(name__in=shown).values_list("name", flat=True))
    foreseen = foresee_undos(operation, shown)
    return Preview([one if one.agent in known else _gone(one.agent) for one in foreseen], further)


def take_back_and_wait(
    operation: Operation, *, actor: Actor, reason: str, request_id: str
) -> Outcome:
    """Take it back in another thread, and say how far that came within seconds. Raises
    NotToBeTakenBack."""
    outcome = Outcome(len(targets_to_take_back(operation)))
    work = partial(_take_back, outcome, operation, actor, reason, request_id)
    _under_way.add(operation.pk, 1)
    outcome.is_over = run_and_wait("take-back", work, _WAIT_S)
    return outcome


def _take_back(
    outcome: Outcome, operation: Operation, actor: Actor, reason: str, request_id: str
) -> None:
    try:
        outcome.told += take_back(
            operation,
            actor=actor,
            reason=reason,
            request_id=request_id,
            timeout=operation.timeout_s or settings.KVPLANE_AGENT_TIMEOUT,
        )
    finally:
        _under_way.add(operation.pk, -1)


def _gone(agent: str) -> Foreseen:
    return Foreseen(agent, None, "It is not registered any more.")
