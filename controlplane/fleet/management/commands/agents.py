"""`manage.py agents list|show|probe|status|version|lmc-version|commit|info|vllm-version|meta`."""

from controlplane.commandline.base import DoorCommand
from controlplane.commandline.reading import Read
from controlplane.fleet.management.agents import ListAgents, ProbeAgents, ShowAgent


class Command(DoorCommand):
    """Tells about agents."""

    help = "List agents, and ask them about themselves."
    verbs = (
        ListAgents(),
        ShowAgent(),
        ProbeAgents(),
        Read("status", "get_agent_status"),
        Read("version", "get_version"),
        Read("lmc-version", "get_lmc_version"),
        Read("commit", "get_commit_id"),
        Read("info", "get_inference_info"),
        Read("vllm-version", "get_inference_version"),
        Read("meta", "get_meta"),
    )
