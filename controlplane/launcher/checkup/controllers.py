"""Controllers: whether somebody looks after the fleet."""

from django.utils import timezone

from controlplane.launcher.checkup.finding import Finding, ok, warn
from controlplane.reconcile.models import Controller


def check_controllers() -> Finding:
    """Whether one runs."""
    alive = Controller.objects.filter(alive_until__gt=timezone.now()).count()
    if not alive:
        return warn(
            "controllers",
            "none runs: restarts, drift, expiries and unfinished operations are not looked after",
            "Start the web process, or `manage.py runcontroller`.",
        )
    return ok("controllers", f"{alive} running")
