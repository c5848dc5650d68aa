"""The control loop inside a web process."""

import logging
import threading

from django.conf import settings

from controlplane.operations.runner import shared_runner
from controlplane.reconcile.loop import ControlLoop

logger = logging.getLogger(__name__)
_STOP_SECONDS = 5.0


class EmbeddedController:
    """Starts and stops with the server."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless the settings say that controllers are processes of their own."""
        if not settings.KVPLANE_EMBEDDED_CONTROLLER:
            return
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the round that is under way, and leave the rest to others."""
        self._stopping.set()
        shared_runner().close()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        loop = ControlLoop()
        try:
            loop.run(self._stopping)
        finally:
            loop.close()
