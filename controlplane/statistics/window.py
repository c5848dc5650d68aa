"""The buckets of a time series."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from engine.contract import InvalidParameter

MAX_BUCKETS = 2_000
MIN_BUCKET_S = 1
MAX_BUCKET_S = 31 * 86_400
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9998, 1, 1, tzinfo=UTC)
BOUNDS = "Give a date between 1970 and 9997."


@dataclass(frozen=True)
class Window:
    """`count` buckets of the length `size` from `start` on."""

    start: datetime
    size: timedelta
    count: int

    @property
    def end(self) -> datetime:
        """Where the last bucket ends."""
        return self.start_of(self.count)

    def start_of(self, index: int) -> datetime:
        """Where a bucket begins."""
        return self.start + index * self.size

    def index_of(self, moment: datetime) -> int:
        """The bucket that holds the moment."""
        return (moment - self.start) // self.size


def window_of(since: datetime, until: datetime, bucket_s: int) -> Window:
    """The whole buckets that hold the time from `since` to before `until`, both aware.

    Buckets begin at multiples of `bucket_s` seconds since 1970, as those of down-sampled
    snapshots do. Raises InvalidParameter (400).
    """
    if not MIN_BUCKET_S <= bucket_s <= MAX_BUCKET_S:
        raise InvalidParameter(
            "bucket",
            f"'bucket' must be {MIN_BUCKET_S} to {MAX_BUCKET_S} seconds, not {bucket_s}.",
        )
    for name, moment in (("since", since), ("until", until)):
        if not EARLIEST <= moment <= LATEST:
            raise InvalidParameter(name, f"'{name}': {BOUNDS}")
    if since >= until:
        raise InvalidParameter(
            "since", "'since' must be before 'until', which is now unless it is given."
        )
    size = timedelta(seconds=bucket_s)
    start = floor(since, size)
    count = -((start - until) // size)
    if count > MAX_BUCKETS:
        raise InvalidParameter(
            "bucket",
            f"There would be {count} buckets, and at most {MAX_BUCKETS} are given; make 'bucket' "
            "larger or the time from 'since' to 'until' shorter.",
        )
    return Window(start, size, count)


def floor(moment: datetime, size: timedelta) -> datetime:
    """The last multiple of `size` since 1970 that is not after the moment."""
    return EARLIEST + (moment - EARLIEST) // size * size
