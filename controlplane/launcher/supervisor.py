"""Starts processes, waits until they answer, and stops all of them together."""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from controlplane.launcher.plan import ProcessPlan

POLL_SECONDS = 0.2
STOP_SECONDS = 15.0
_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1

# An inherited proxy setting must not come between processes of one machine.
_OPENER = build_opener(ProxyHandler({}))


class ProcessFailed(Exception):
    """A process ended that should run, or did not answer in time."""


class Supervisor:
    """Owns the processes of a plan; `log_directory` takes one log file each."""

    def __init__(self, log_directory: Path) -> None:
        self._log_directory = log_directory
        self._running: list[tuple[ProcessPlan, subprocess.Popen[bytes]]] = []
        self._stop_requested = False

    def stop_on_signals(self) -> None:
        """Let Ctrl-C, SIGTERM and a closed terminal end `wait_until_ready` and
        `watch`."""

        def request_stop(signum: int, frame: FrameType | None) -> None:
            # No lock here, so no threading.Event: the handler may interrupt its own
            # thread while that holds the lock, and would wait for it for ever.
            self._stop_requested = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, request_stop)

    @property
    def stop_requested(self) -> bool:
        return self._stop_requested

    def start(self, plan: ProcessPlan) -> None:
        """Start a process in a session of its own, so that Ctrl-C reaches it
        through this supervisor only, once and in order."""
        self._log_directory.mkdir(parents=True, exist_ok=True)
        with self._log_path(plan).open("ab") as log:
            process = subprocess.Popen(
                plan.command,
                env=dict(plan.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        self._running.append((plan, process))

    def wait_until_ready(
        self,
        ready: Callable[[], Sequence[str]],
        progress: Callable[[Sequence[str]], None],
        timeout: float,
    ) -> None:
        """Wait until `ready` names nothing that is still missing; tell
        `progress` whenever that changes. Raises ProcessFailed when a process
        ends before, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        told: Sequence[str] | None = None
        while not self.stop_requested:
            self._check_alive()
            missing = ready()
            if missing != told:
                progress(missing)
                told = missing
            if not missing:
                return
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"Not ready after {timeout:.0f} s: {', '.join(missing)}. "
                    f"The logs are in {self._log_directory}."
                )
            time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Return when a stop is requested; raise ProcessFailed when a process
        ends before."""
        while not self.stop_requested:
            self._check_alive()
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ask every process to end, the last started first, and kill those
        that do not within STOP_SECONDS."""
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for _, process in reversed(self._running):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _check_alive(self) -> None:
        for plan, process in self._running:
            if (code := process.poll()) is not None:
                raise ProcessFailed(
                    f"'{plan.name}' ended with exit code {code}. The end of "
                    f"{self._log_path(plan)}:\n{self._tail(plan)}"
                )

    def _log_path(self, plan: ProcessPlan) -> Path:
        return self._log_directory / f"{plan.name}.log"

    def _tail(self, plan: ProcessPlan) -> str:
        lines = self._log_path(plan).read_text("utf-8", "replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])


def _end_with_parent() -> None:
    """Have the kernel end this process when the supervisor dies without a word
    (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def answers(plan: ProcessPlan) -> bool:
    """Whether the process answers its health check."""
    try:
        with _OPENER.open(plan.health_url, timeout=2) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
