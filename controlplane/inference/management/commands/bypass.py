"""`manage.py bypass add|remove|list`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.changing import Change
from controlplane.commandline.reading import Read


class Command(DoorCommand):
    """Bypasses backends."""

    help = "Bypass a backend of agents, stop bypassing it, or list those that are bypassed."
    verbs = (
        Change("add", "add_bypass"),
        Change("remove", "remove_bypass"),
        Read("list", "list_bypassed"),
    )
