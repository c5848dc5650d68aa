"""`manage.py conf get|set|schema|history|diff|rollback`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.reading import Read
from controlplane.configuration.management.revisions import Difference, History, RollBack
from controlplane.configuration.management.setting import SetConf


class Command(DoorCommand):
    """Works on configurations."""

    help = "Read and change the configuration of agents, look at its revisions, and go back."
    verbs = (
        Read("get", "get_conf"),
        SetConf("set", "update_conf"),
        Read("schema", "get_conf_schema"),
        History(),
        Difference(),
        RollBack(),
    )
