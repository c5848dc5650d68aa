"""Histories of agents, for hypothesis."""

from dataclasses import dataclass
from enum import Enum

from hypothesis import strategies as st

from controlplane.statistics.models import Trigger
from tests.controlplane.statistics.samples import Reporter


class Before(Enum):
    """What happened between a sample and the one before it."""

    NOTHING = 0
    RESTART = 1
    RESET = 2
    HIDDEN_RESET = 3
    """Somebody reset the agent past the control plane."""


@dataclass(frozen=True)
class Event:
    """A sample `after_s` seconds after the one before, and what was counted between."""

    after_s: int
    before: Before
    requests: int
    unique: int
    duplicate: int


def histories(*kinds: Before, max_size: int = 20) -> st.SearchStrategy[list[Event]]:
    """Lists of events of these kinds."""
    few = st.integers(0, 50)
    event = st.builds(Event, st.integers(1, 4_000), st.sampled_from(kinds), few, few, few)
    return st.lists(event, min_size=1, max_size=max_size)


def live_through(reporter: Reporter, history: list[Event]) -> int:
    """Record the history, from noon on; how many seconds it took."""
    # One reporter lives through many histories.
    reporter.boot_id = "boot"
    seconds = requests = unique = duplicate = 0
    for number, event in enumerate(history):
        seconds += event.after_s
        if event.before is not Before.NOTHING:
            requests = unique = duplicate = 0
        if event.before is Before.RESTART:
            reporter.boot_id = f"boot-{number}"
        requests += event.requests
        unique += event.unique
        duplicate += event.duplicate
        trigger = Trigger.RESET if event.before is Before.RESET else Trigger.INTERVAL
        reporter.says(seconds, unique, duplicate, requests, trigger)
    return seconds
