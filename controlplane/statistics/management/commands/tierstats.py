"""`manage.py tierstats series`."""

from controlplane.commandline.base import DoorCommand
from controlplane.statistics.management.series import TierSeries


class Command(DoorCommand):
    """Shows statistics of tiers."""

    help = "Look at the hit rates of tiers over time."
    verbs = (TierSeries(),)
