"""How far an operation has come."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Case, Count, TextField, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, NullIf

from controlplane.operations.models import Operation, OperationTarget, State

FAILURES = (State.FAILED, State.PARTIALLY_FAILED, State.UNKNOWN)
_FAILED_FIRST = Case(When(state__in=FAILURES, then=0), default=1)
_NOTHING = Value("", TextField())
_SAID = Coalesce(NullIf(KT("answer__message"), _NOTHING), KT("answer__error"), _NOTHING)


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

    @property
    def cancelled(self) -> int:
        """Those that were not called, because somebody called it off or others failed."""
        return self.counts[State.CANCELLED]


@dataclass(frozen=True)
class Wave:
    """Agents that are called at the same time."""

    number: int
    progress: Progress
    targets: Sequence[OperationTarget]

    @property
    def hidden(self) -> int:
        """How many of its agents are left out."""
        return self.progress.total - len(self.targets)


def progress_of(operations: Iterable[UUID]) -> dict[UUID, Progress]:
    """The progress of each of the operations. One query."""
    found: dict[UUID, Counter[str]] = {pk: Counter() for pk in operations}
    rows = OperationTarget.objects.filter(operation__in=found)
    counts = rows.order_by().values_list("operation", "state").annotate(count=Count("id"))
    for operation, state, count in counts:
        found[operation][state] = count
    return {operation: Progress(states) for operation, states in found.items()}


def waves_of(operation: Operation, most: int) -> list[Wave]:
    """The waves in their order, with at most so many agents altogether: those that
    failed first. A target has what its agent said as `said` instead of the whole answer.
    Two queries."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    states = operation.targets.order_by().values_list("wave", "state")
    for wave, state, count in states.annotate(count=Count("id")):
        counts[wave][state] = count
    members: dict[int, list[OperationTarget]] = defaultdict(list)
    shown = operation.targets.defer("answer").annotate(said=_SAID)
    for target in shown.order_by(_FAILED_FIRST, "wave", "pk")[:most]:
        members[target.wave].append(target)
    return [Wave(wave + 1, Progress(counts[wave]), members[wave]) for wave in sorted(counts)]


def progress_in(waves: Iterable[Wave]) -> Progress:
    """The progress of all of them."""
    return Progress(sum((wave.progress.counts for wave in waves), Counter[str]()))
