"""`manage.py completion bash|zsh`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.completing import SHELLS
from controlplane.fleet.models import Agent, Engine
from controlplane.launcher.management.completion import Names, Script


class Command(DoorCommand):
    """Lets a shell complete commands."""

    help = "Print a script with which a shell completes these commands."
    verbs = (*(Script(shell) for shell in SHELLS), Names("agents", Agent), Names("engines", Engine))
