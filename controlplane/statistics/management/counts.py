"""What `manage.py chunkstats` does with what is kept of counts."""

from argparse import ArgumentParser

from rest_framework.exceptions import ValidationError

from controlplane.commandline.durations import read_duration
from controlplane.commandline.outcomes import told_of_targets
from controlplane.commandline.reading import add_timeout, timeout_of
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.selecting import add_selector, agents_for, selector_of
from controlplane.commandline.tables import table
from controlplane.commandline.told import Told
from controlplane.fleet.models import Agent
from controlplane.operations.models import State
from controlplane.statistics import services
from controlplane.statistics.serializers import (
    BucketSerializer,
    ChunkStatisticsSerializer,
    SeriesQuerySerializer,
)
from engine.contract import ContractError, endpoint

_COUNTING = endpoint("get_chunk_statistics_status")

_COLUMNS = (
    *("start", "samples", "total_requests", "total_chunks", "unique_chunks"),
    *("duplicate_chunks", "reuse_rate"),
)


class Series(Verb):
    """What was counted, bucket by bucket."""

    name = "series"
    help = "Show what was counted in each stretch of time; one without a snapshot is a gap."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Of whom, when, how finely."""
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--agent", metavar="NAME", help="The counts of an agent.")
        whose.add_argument("--engine", metavar="NAME", help="The sums over an engine's agents.")
        parser.add_argument("--since", metavar="MOMENT", help="Default: 24 hours before the end.")
        parser.add_argument("--until", metavar="MOMENT", help="Default: now.")
        parser.add_argument("--bucket", metavar="TIME", default="1h", help="Default: 1h.")

    def run(self, run: Run) -> Told:
        """Ask nobody but the database. Raises ValidationError, AgentNotFound and
        EngineNotFound."""
        given = {name: run.options[name] for name in ("agent", "engine", "since", "until")}
        bucket = int(read_duration("--bucket", run.options["bucket"]))
        asked = SeriesQuerySerializer(
            data={**{name: value for name, value in given.items() if value}, "bucket": bucket}
        )
        if not asked.is_valid():
            raise ValidationError(asked.errors)
        query = asked.validated_data
        span = {"since": query["since"], "until": query["until"], "bucket_s": query["bucket"]}
        if "agent" in query:
            found = services.series_of_agent(query["agent"], **span)
        else:
            found = services.series_of_engine(query["engine"], **span)
        buckets = [dict(BucketSerializer(bucket).data) for bucket in found]
        rows = ([bucket[column] for column in _COLUMNS] for bucket in buckets)
        return Told({"buckets": buckets}, [table(_COLUMNS, rows)])

    def reads(self, run: Run) -> str:
        """Snapshots."""
        return "chunk-statistics"


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
