"""`manage.py lookup info|close|create|recreate|query`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.changing import Change
from controlplane.commandline.reading import Read


class Command(DoorCommand):
    """Works on lookup clients and servers."""

    help = "Show, close, create and recreate lookup clients and servers, and look tokens up."
    verbs = (
        Read("info", "get_lookup_info"),
        Change("close", "close_lookup"),
        Change("create", "create_lookup"),
        Change("recreate", "recreate_lookup"),
        Change("query", "query_lookup"),
    )
