"""`manage.py freeze enable|disable|status`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.changing import Change
from controlplane.commandline.reading import Read


class Command(DoorCommand):
    """Freezes caches."""

    help = "Freeze the caches of agents, let them go on, or ask whether they are frozen."
    verbs = (
        Change("enable", "enable_freeze"),
        Change("disable", "disable_freeze"),
        Read("status", "get_freeze_status"),
    )
