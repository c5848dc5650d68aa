"""Carrying an operation over several agents out, and waiting for it with a progress bar."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db.models import Count, Q
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from controlplane.operations.errors import OperationNotFound
from controlplane.operations.models import Operation, State
from controlplane.operations.runner import Runner
from controlplane.reconcile.models import Controller

_SLICE_S = 0.1
_OPEN = (State.PENDING, State.RUNNING)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on standard error; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar


def carry_out(operation: Operation, seconds: float | None) -> Operation:
    """Carry it out in this process until it is finished, for `seconds` at most (None: as
    long as it takes), and tell how far it is then.

    What is not done by then, or when Ctrl-C is pressed, is left to the controllers; with
    0 seconds all of it is. Raises django.db.DatabaseError.
    """
    if seconds == 0:
        return operation
    deadline = None if seconds is None else time.monotonic() + seconds
    runner = Runner()
    try:
        runner.start(operation)
        _watch(runner, operation, deadline)
    except KeyboardInterrupt:
        _say("Leaving it to the controllers, as soon as the calls on their way are answered.")
    finally:
        # Waits for the calls that are on their way, and writes what came of them.
        runner.close()
    found = Operation.objects.filter(pk=operation.pk).first()
    if found is None:
        raise OperationNotFound(operation.pk)
    return found


def left_to_controllers(operation: Operation) -> str:
    """What is said of an operation that this process does not finish."""
    alive = Controller.objects.filter(alive_until__gt=timezone.now()).exists()
    return (
        f"Operation {operation.pk} is {operation.state}; the controllers go on with it, and "
        f"`operations show {operation.pk}` tells how far it is."
        f"{'' if alive else ' No controller runs just now: start one with `runcontroller`.'}"
    )


def _say(text: str) -> None:
    console = Console(stderr=True)
    if console.is_terminal:
        console.print(text, highlight=False)


def _watch(runner: Runner, operation: Operation, deadline: float | None) -> None:
    with progress_bar() as bar:
        task = bar.add_task(operation.action, total=operation.targets.count())
        while True:
            left = _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
            if left <= 0:
                return
            operation = runner.wait_for(operation.pk, left)
            counted = operation.targets.aggregate(done=Count("pk", filter=~Q(state__in=_OPEN)))
            bar.update(task, completed=counted["done"])
            if State(operation.state).is_final:
                return
