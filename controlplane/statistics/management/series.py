"""What is kept of counts, as commands show it: bucket by bucket."""

from abc import abstractmethod
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from controlplane.commandline.durations import read_duration
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.tables import table
from controlplane.commandline.told import Told
from controlplane.statistics import services
from controlplane.statistics.serializers import BucketSerializer, SeriesQuerySerializer
from controlplane.statistics.tier_serializers import TierBucketSerializer


class Series(Verb):
    """What was counted, bucket by bucket."""

    name = "series"
    columns: ClassVar[tuple[str, ...]]

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
        buckets = self.buckets(asked)
        rows = (self.row(bucket) for bucket in buckets)
        return Told({"buckets": buckets}, [table(self.columns, rows)])

    @abstractmethod
    def buckets(self, asked: SeriesQuerySerializer) -> list[dict[str, Any]]:
        """The series that is asked for, as the API has it."""

    def row(self, bucket: Mapping[str, Any]) -> Sequence[object]:
        """What the table has of a bucket."""
        return [bucket[column] for column in self.columns]


class ChunkSeries(Series):
    """Chunks that were counted."""

    help = "Show what was counted in each stretch of time; one without a snapshot is a gap."
    columns = (
        *("start", "samples", "total_requests", "total_chunks", "unique_chunks"),
        *("duplicate_chunks", "reuse_rate"),
    )

    def buckets(self, asked: SeriesQuerySerializer) -> list[dict[str, Any]]:
        """Sums of chunks."""
        found = asked.buckets(services.series_of_agent, services.series_of_engine)
        return [dict(BucketSerializer(bucket).data) for bucket in found]

    def reads(self, run: Run) -> str:
        """Snapshots."""
        return "chunk-statistics"


class TierSeries(Series):
    """What tiers were asked for and had."""

    help = (
        "Show the hit rate of each tier in each stretch of time; one without a snapshot is a gap."
    )
    columns = (
        *("start", "samples", "requested_tokens", "retrieved_tokens", "stored_tokens"),
        "hit_rates",
    )

    def buckets(self, asked: SeriesQuerySerializer) -> list[dict[str, Any]]:
        """Sums of tokens."""
        found = asked.buckets(services.tier_series_of_agent, services.tier_series_of_engine)
        return [dict(TierBucketSerializer(bucket).data) for bucket in found]

    def row(self, bucket: Mapping[str, Any]) -> Sequence[object]:
        """The tiers that were asked for anything, with their rates."""
        rates = [
            f"{name} {tier['hit_rate']:.3f}"
            for name, tier in (bucket["tiers"] or {}).items()
            if tier["hit_rate"] is not None
        ]
        return [*(bucket[column] for column in self.columns[:-1]), ", ".join(rates) or None]

    def reads(self, run: Run) -> str:
        """Snapshots."""
        return "tier-statistics"
