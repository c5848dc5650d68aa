"""The charts of tiers."""

from collections.abc import Callable, Sequence

from controlplane.dashboard.charts import Chart, Key, Numbered, chart_over, line_over
from controlplane.dashboard.drawing import Line
from controlplane.dashboard.scales import bytes_scale, count_scale, percent_scale
from controlplane.statistics.tier_series import TierBucket, TierUse

_COLORS = {"LocalCPUBackend": 2, "LocalDiskBackend": 3, "RemoteBackend": 4}
_OTHER_COLORS = (5, 6, 7)
TOKENS = {
    "requested_tokens": Key("asked for", 0),
    "retrieved_tokens": Key("retrieved", 1),
    "stored_tokens": Key("newly stored", 5),
}
"""How the counts of tokens are called, and drawn."""


def tier_names(buckets: Sequence[TierBucket]) -> list[str]:
    """The tiers that the buckets tell of, in the order of their names."""
    return sorted({name for bucket in buckets for name in bucket.tiers or ()})


def hit_rate_chart(buckets: Sequence[TierBucket], moments: Sequence[Numbered]) -> Chart:
    """How much each tier had of what it was asked for. `buckets` is not empty."""
    lines = _lines(buckets, _hit_percent)
    return chart_over(buckets, moments, "Hit rate by tier", percent_scale(), lines)


def used_bytes_chart(buckets: Sequence[TierBucket], moments: Sequence[Numbered]) -> Chart:
    """How much is in each tier. `buckets` is not empty."""
    most = max((use.used_bytes for bucket in buckets for use in _uses(bucket)), default=0)
    lines = [line for line in _lines(buckets, lambda use: use.told_bytes) if line.tells_something]
    return chart_over(buckets, moments, "Bytes used by tier", bytes_scale(most), lines)


def tokens_chart(buckets: Sequence[TierBucket], moments: Sequence[Numbered]) -> Chart:
    """Tokens in each bucket, of all tiers together. `buckets` is not empty."""
    counts = [getattr(bucket, name) or 0 for bucket in buckets for name in TOKENS]
    lines = [_tokens_line(buckets, name) for name in TOKENS]
    return chart_over(buckets, moments, "Tokens", count_scale(max(counts)), lines)


def _lines(
    buckets: Sequence[TierBucket], value_of: Callable[[TierUse], float | None]
) -> list[Line]:
    """One a tier, each in its own colour whatever others there are."""
    names = tier_names(buckets)
    others = [name for name in names if name not in _COLORS]
    colors = {
        **_COLORS,
        **{name: _OTHER_COLORS[n % len(_OTHER_COLORS)] for n, name in enumerate(others)},
    }
    return [line_over(name, colors[name], buckets, _of(name, value_of)) for name in names]


def _of(
    name: str, value_of: Callable[[TierUse], float | None]
) -> Callable[[TierBucket], float | None]:
    def value(bucket: TierBucket) -> float | None:
        use = None if bucket.tiers is None else bucket.tiers.get(name)
        return None if use is None else value_of(use)

    return value


def _uses(bucket: TierBucket) -> list[TierUse]:
    return list((bucket.tiers or {}).values())


def _hit_percent(use: TierUse) -> float | None:
    return None if use.hit_rate is None else 100 * use.hit_rate


def _tokens_line(buckets: Sequence[TierBucket], count: str) -> Line:
    def value(bucket: TierBucket) -> float | None:
        number: int | None = getattr(bucket, count)
        return number

    return line_over(TOKENS[count].name, TOKENS[count].color, buckets, value)
