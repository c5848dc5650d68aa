"""`manage.py cache clear|store|retrieve|check|info|record-slot|load`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.changing import Change
from controlplane.commandline.reading import Read


class Command(DoorCommand):
    """Works on caches."""

    help = "Clear, fill, read, check and describe the caches of agents."
    verbs = (
        Change("clear", "clear_cache"),
        Change("store", "store_cache"),
        Change("retrieve", "retrieve_cache"),
        Read("check", "check_kvcache"),
        Read("info", "get_kvcache_info"),
        Change("record-slot", "record_slot"),
        Change("load", "load_fs_chunks"),
    )
