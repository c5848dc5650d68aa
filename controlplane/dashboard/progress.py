"""How far an operation has come."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count

from controlplane.operations.models import OperationTarget, State

FAILURES = (State.FAILED, State.PARTIALLY_FAILED, State.UNKNOWN)


@dataclass(frozen=True)
class Progress:
    """How many agents are in which state."""

    counts: Counter[str]

    @property
    def total(self) -> int:
        """All agents of the operation."""
        return self.counts.total()

    @property
    def done(self) -> int:
        """Those whose part is over."""
        return sum(count for state, count in self.counts.items() if State(state).is_final)

    @property
    def succeeded(self) -> int:
        """Those that did it."""
        return self.counts[State.SUCCEEDED]

    @property
    def failed(self) -> int:
        """Those that did not do it, or of which nobody knows."""
        return sum(self.counts[state] for state in FAILURES)


@dataclass(frozen=True)
class Wave:
    """Agents that are called at the same time."""

    number: int
    progress: Progress
    targets: Sequence[OperationTarget]


def progress_of(operations: Iterable[UUID]) -> dict[UUID, Progress]:
    """The progress of each of the operations. One query."""
    found: dict[UUID, Counter[str]] = {pk: Counter() for pk in operations}
    rows = OperationTarget.objects.filter(operation__in=found)
    counts = rows.order_by().values_list("operation", "state").annotate(count=Count("id"))
    for operation, state, count in counts:
        found[operation][state] = count
    return {operation: Progress(states) for operation, states in found.items()}


def waves_of(targets: Iterable[OperationTarget], most: int) -> list[Wave]:
    """The waves in their order, with at most so many agents altogether: those that
    failed first."""
    waves: dict[int, list[OperationTarget]] = defaultdict(list)
    for target in targets:
        waves[target.wave].append(target)
    shown = []
    for number, members in sorted(waves.items()):
        members.sort(key=lambda target: (target.state not in FAILURES, target.pk))
        progress = Progress(Counter(target.state for target in members))
        shown.append(Wave(number + 1, progress, members[:most]))
        most -= len(members[:most])
    return shown
