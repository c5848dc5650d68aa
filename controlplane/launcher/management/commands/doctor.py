"""`manage.py doctor`."""

from controlplane.commandline.base import DoorCommand
from controlplane.launcher.management.doctor import Doctor


class Command(DoorCommand):
    """Looks an installation over."""

    help = Doctor.help
    verbs = (Doctor(),)
