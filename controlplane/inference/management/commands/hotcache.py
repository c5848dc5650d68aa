"""`manage.py hotcache enable|disable|status`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.changing import Change
from controlplane.commandline.reading import Read


class Command(DoorCommand):
    """Switches hot caches."""

    help = "Switch the hot cache of agents on or off, or ask whether it is on."
    verbs = (
        Change("enable", "enable_hot_cache"),
        Change("disable", "disable_hot_cache"),
        Read("status", "get_hot_cache_status"),
    )
