"""What was counted of an agent or an engine in a stretch of time, with the moments that may
explain it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.dashboard.charts import Numbered, Stretch, numbered
from controlplane.dashboard.few_moments import few_of
from controlplane.dashboard.moments import Span, began_anew, moments_of
from controlplane.dashboard.statistics_query import Subject
from controlplane.statistics.series import Bucket
from controlplane.statistics.tier_series import TierBucket

RESOURCES = (
    "chunk-statistics",
    "tier-statistics",
    "config-revisions",
    "mode-changes",
    "operations",
)
"""What it is told from, as the policy of reads calls it."""


@dataclass(frozen=True)
class Step:
    """One step of time: what was counted of chunks in it, and of tiers."""

    chunks: Bucket
    tiers: TierBucket

    @property
    def start(self) -> datetime:
        """When it begins."""
        return self.chunks.start

    @property
    def is_known(self) -> bool:
        """Whether there is a snapshot of either kind."""
        return bool(self.chunks.samples or self.tiers.samples)


@dataclass(frozen=True)
class Measured:
    """The steps of both series over the same time, and the moments, oldest first;
    `left_out` is how many changes are none of these."""

    chunks: Sequence[Bucket]
    tiers: Sequence[TierBucket]
    moments: Sequence[Numbered]
    left_out: int

    @property
    def span(self) -> Span:
        """From when to before when."""
        return Span(self.chunks[0].start, self.chunks[-1].end)

    @property
    def has_chunks(self) -> bool:
        """Whether chunks were counted at all."""
        return any(bucket.samples for bucket in self.chunks)

    @property
    def has_tiers(self) -> bool:
        """Whether any agent told of its tiers."""
        return any(bucket.samples for bucket in self.tiers)

    @property
    def chunk_gaps(self) -> int:
        """Steps without a snapshot of chunks."""
        return _gaps(self.chunks)

    @property
    def tier_gaps(self) -> int:
        """Steps without a snapshot of tiers."""
        return _gaps(self.tiers)

    def steps(self) -> list[Step]:
        """Those of which anything is known, newest first."""
        pairs = zip(self.chunks, self.tiers, strict=True)
        steps = [Step(chunks, tiers) for chunks, tiers in pairs]
        return [step for step in reversed(steps) if step.is_known]


def measure(
    subject: Subject, agents: Sequence[str], since: datetime, until: datetime, bucket_s: int
) -> Measured:
    """Both series of the subject, and what was done meanwhile to the agents. Raises
    InvalidParameter, AgentNotFound and EngineNotFound."""
    chunks = subject.series(since, until, bucket_s)
    tiers = subject.tier_series(since, until, bucket_s)
    span = Span(chunks[0].start, chunks[-1].end)
    changes = moments_of(agents, span)
    # One start of an agent is one moment, of whatever the counts.
    begun = {moment for bucket in chunks for moment in bucket.begun}
    begun |= {moment for bucket in tiers for moment in bucket.begun}
    both = [*changes.moments, *began_anew(begun, subject.name)]
    few = few_of(both, span)
    return Measured(chunks, tiers, numbered(few.moments), changes.unread + few.left_out)


def _gaps(buckets: Sequence[Stretch]) -> int:
    return sum(not bucket.samples for bucket in buckets)
