"""What can be done with statistics of chunks and tiers: recording, reading as a series or as
CSV, and forgetting them. Each part is in a module of its own."""

from controlplane.statistics.appending import Asked, Sample, append
from controlplane.statistics.asking import sample_by_hand, sample_now
from controlplane.statistics.export import CHUNK_COLUMNS, TIER_COLUMNS, csv_lines
from controlplane.statistics.retention import Pruned, prune
from controlplane.statistics.sampling import record_sample
from controlplane.statistics.series import Bucket, series_of_agent, series_of_engine
from controlplane.statistics.tier_sampling import tier_sample
from controlplane.statistics.tier_series import (
    TierBucket,
    TierUse,
    tier_series_of_agent,
    tier_series_of_engine,
)
from controlplane.statistics.tiers_told import tells_of_tiers

__all__ = [
    "CHUNK_COLUMNS",
    "TIER_COLUMNS",
    "Asked",
    "Bucket",
    "Pruned",
    "Sample",
    "TierBucket",
    "TierUse",
    "append",
    "csv_lines",
    "prune",
    "record_sample",
    "sample_by_hand",
    "sample_now",
    "series_of_agent",
    "series_of_engine",
    "tells_of_tiers",
    "tier_sample",
    "tier_series_of_agent",
    "tier_series_of_engine",
]
