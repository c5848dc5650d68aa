"""What can be done with chunk statistics: recording, reading as a series or as CSV, and
forgetting them. Each part is in a module of its own."""

from controlplane.statistics.asking import sample_by_hand, sample_now
from controlplane.statistics.export import csv_lines
from controlplane.statistics.retention import Pruned, prune
from controlplane.statistics.sampling import Asked, record_sample
from controlplane.statistics.series import Bucket, series_of_agent, series_of_engine

__all__ = [
    "Asked",
    "Bucket",
    "Pruned",
    "csv_lines",
    "prune",
    "record_sample",
    "sample_by_hand",
    "sample_now",
    "series_of_agent",
    "series_of_engine",
]
