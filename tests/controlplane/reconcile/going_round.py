"""Having a control loop go round."""

from django.utils import timezone

from controlplane.reconcile.loop import ControlLoop
from tests.support.waiting import eventually


def rounds(loop: ControlLoop, count: int = 1) -> None:
    """So many rounds. What was settled before one is older than its questions."""
    for _ in range(count):
        settled = timezone.now()
        eventually(lambda settled=settled: timezone.now() > settled)
        loop.go_round()
