"""Ports that somebody else has."""

import errno
import socket
from collections.abc import Iterable

from controlplane.launcher.plan import ProcessPlan


class PortTaken(Exception):
    """A port that a process needs is in use; the message names the port and the
    setting that moves it."""

    def __init__(self, plan: ProcessPlan, reason: str) -> None:
        super().__init__(
            f"Port {plan.port} on {plan.host}, which '{plan.name}' needs, {reason}. Stop what uses "
            f"it, or choose another port with {plan.port_setting}."
        )


def check_ports(plans: Iterable[ProcessPlan]) -> None:
    """Raise PortTaken for the first port that cannot be bound."""
    for plan in plans:
        family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the servers bind: a connection of an earlier run that is still
            # winding down is no reason to refuse.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((plan.host, plan.port))
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                reason = "is taken" if taken else f"cannot be bound ({error.strerror})"
                raise PortTaken(plan, reason) from error
