"""`manage.py runcontroller`: the control loop in a process of its own."""

import signal
import threading
from types import FrameType

from django.core.management import BaseCommand

from controlplane.audit.keeper import AuditKeeper
from controlplane.operations.runner import shared_runner
from controlplane.reconcile.loop import ControlLoop


class Command(BaseCommand):
    """Runs until SIGINT or SIGTERM."""

    help = (
        "Run the control loop: poll agents, notice restarts and drift, put right, sample "
        "statistics, finish operations that a crash left open. Several may run; they share the "
        "fleet. Set KVPLANE_EMBEDDED_CONTROLLER=false for the web processes then."
    )

    def handle(self, *args: object, **options: object) -> None:
        """Go round until told to stop."""
        stopping = _Stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stopping.ask)
        loop, keeper = ControlLoop(), AuditKeeper()
        keeper.start()
        self.stdout.write(f"controller {loop.name} runs; Ctrl-C stops it")
        try:
            loop.run(stopping)
        finally:
            shared_runner().close()
            loop.close()
            keeper.stop()


class _Stop(threading.Event):
    """Set by a signal. A handler must not take a lock that the interrupted code may
    hold, so it only leaves a note, which wait() reads."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self._asked = True

    def is_set(self) -> bool:
        """Whether a signal came."""
        return self._asked

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep in slices, because nobody notifies."""
        left = 0.0 if timeout is None else timeout
        while left > 0 and not self._asked:
            super().wait(min(left, 0.2))
            left -= 0.2
        return self._asked
