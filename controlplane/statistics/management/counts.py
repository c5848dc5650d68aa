"""What `manage.py chunkstats sample` does."""

from argparse import ArgumentParser

from controlplane.commandline.outcomes import told_of_targets
from controlplane.commandline.reading import add_timeout, timeout_of
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.selecting import add_selector, agents_for, selector_of
from controlplane.commandline.told import Told
from controlplane.fleet.models import Agent
from controlplane.operations.models import State
from controlplane.statistics import services
from controlplane.statistics.serializers import ChunkStatisticsSerializer
from engine.contract import ContractError, endpoint

_COUNTING = endpoint("get_chunk_statistics_status")


class Sample(Verb):
    """Has counts kept now."""

    name = "sample"
    help = "Ask agents for their counts now, and keep them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Selectors."""
        add_selector(parser)
        add_timeout(parser)

    def run(self, run: Run) -> Told:
        """Ask one after the other."""
        timeout = timeout_of(run)
        agents = agents_for(selector_of(run.options), _COUNTING)
        targets = [_sample(agent, run, timeout) for agent in agents]
        return told_of_targets({}, targets)

    def is_change(self, run: Run) -> bool:
        """What is kept of counts changes."""
        return True


def _sample(agent: Agent, run: Run, timeout: float) -> dict[str, object]:
    target: dict[str, object] = {"agent": agent.name, "answer": None, "error": None}
    try:
        snapshot = services.sample_by_hand(
            agent, actor=run.actor, request_id=run.request_id, timeout=timeout
        )
    except ContractError as error:
        return {**target, "state": "failed", "status": error.status, "error": error.body()}
    answer = dict(ChunkStatisticsSerializer(snapshot).data)
    return {**target, "state": State.SUCCEEDED.value, "status": 201, "answer": answer}
