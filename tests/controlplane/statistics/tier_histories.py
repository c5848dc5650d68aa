"""Histories of agents with tiers, for hypothesis."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.controlplane.statistics.tier_samples import TierReporter, tier

NAMES = ("LocalCPUBackend", "LocalDiskBackend", "RemoteBackend")


@dataclass(frozen=True)
class TierEvent:
    """A sample `after_s` seconds after the one before; what each tier was asked for and had
    between, by name; and the tiers that there are from a restart on, none: there was none."""

    after_s: int
    restarted_with: frozenset[str]
    hits: dict[str, int]
    misses: dict[str, int]
    chunks: int
    stored: int


def tier_histories(max_size: int = 15) -> st.SearchStrategy[list[TierEvent]]:
    """Lists of events, restarts among them."""
    few = st.integers(0, 30)
    by_tier = st.dictionaries(st.sampled_from(NAMES), few, max_size=len(NAMES))
    tiers = st.frozensets(st.sampled_from(NAMES), max_size=len(NAMES))
    event = st.builds(
        TierEvent,
        after_s=st.integers(1, 4_000),
        restarted_with=st.one_of(st.just(frozenset()), tiers),
        hits=by_tier,
        misses=by_tier,
        chunks=few,
        stored=few,
    )
    return st.lists(event, min_size=1, max_size=max_size)


def live_through_tiers(
    reporter: TierReporter, history: list[TierEvent]
) -> tuple[int, Counter[tuple[str, str]]]:
    """Record the history, from noon on; how many seconds it took, and what was counted after
    the first sample, by tier and count."""
    reporter.boot_id = "boot"
    there = frozenset(NAMES[:2])
    seconds, stored = 0, 0
    counted: Counter[tuple[str, str]] = Counter()
    looked_up: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    for number, event in enumerate(history):
        seconds += event.after_s
        if event.restarted_with:
            reporter.boot_id = f"boot-{number}"
            there, stored = event.restarted_with, 0
            looked_up.clear()
            hit.clear()
        for name in there:
            hits, misses = event.hits.get(name, 0), event.misses.get(name, 0)
            looked_up[name] += hits + misses
            hit[name] += hits
            if number:
                counted[name, "looked_up_tokens"] += hits + misses
                counted[name, "hit_tokens"] += hits
        stored += event.stored
        if number:
            counted["", "stored_tokens"] += event.stored
        tiers = {name: tier(looked_up[name], hit[name], event.chunks) for name in there}
        reporter.says(seconds, tiers, stored_tokens=stored)
    return seconds, counted
