"""`manage.py chunkstats status|start|stop|reset|series|sample`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.changing import Change
from controlplane.commandline.reading import Read
from controlplane.statistics.management.counts import Sample
from controlplane.statistics.management.series import ChunkSeries


class Command(DoorCommand):
    """Works on chunk statistics."""

    help = "Start, stop and reset the counting of chunks, and look at what was counted."
    verbs = (
        Read("status", "get_chunk_statistics_status"),
        Change("start", "start_chunk_statistics"),
        Change("stop", "stop_chunk_statistics"),
        Change("reset", "reset_chunk_statistics"),
        ChunkSeries(),
        Sample(),
    )
