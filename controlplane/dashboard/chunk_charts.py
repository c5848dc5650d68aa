"""The charts of chunks that were counted."""

from collections.abc import Sequence

from controlplane.dashboard.charts import Chart, Numbered, chart_over, line_over
from controlplane.dashboard.scales import count_scale, percent_scale
from controlplane.statistics.series import Bucket

_REUSE, _ALL, _NEW = 0, 0, 1


def chunk_charts(buckets: Sequence[Bucket], moments: Sequence[Numbered]) -> list[Chart]:
    """Reuse rate, and chunks in each bucket. `buckets` is not empty."""
    most = max(bucket.total_chunks or 0 for bucket in buckets)
    rate = line_over("reuse rate", _REUSE, buckets, _reuse_percent)
    chunks = [
        line_over("all that were looked up", _ALL, buckets, lambda b: b.total_chunks),
        line_over("seen for the first time", _NEW, buckets, lambda b: b.unique_chunks),
    ]
    return [
        chart_over(buckets, moments, "Reuse rate", percent_scale(), [rate]),
        chart_over(buckets, moments, "Chunks", count_scale(most), chunks),
    ]


def _reuse_percent(bucket: Bucket) -> float | None:
    return None if bucket.reuse_rate is None else 100 * bucket.reuse_rate
