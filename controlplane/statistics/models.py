"""Snapshots of what agents counted: the agents forget it when they restart."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

from django.db import models

_MAX_OVERTAKING_S = 60.0
"""Answers of one process pass each other by seconds. By more than this its clock was set
back."""


TOKEN_COUNTS = ("requested_tokens", "retrieved_tokens", "stored_tokens")
"""What an agent counts apart from its tiers."""
TIER_COUNTS = ("looked_up_tokens", "hit_tokens")
"""What it counts of each tier."""
TIER_LEVELS = ("chunks", "used_bytes", "capacity_bytes")
"""How much is in a tier at a moment."""


class Trigger(models.TextChoices):
    """What a snapshot was taken for."""

    INTERVAL = "interval"
    START = "start"
    STOP = "stop"
    RESET = "reset"
    """Taken after the reset: the first of its run."""
    RESTART = "restart"
    MANUAL = "manual"


class Snapshot(models.Model):
    """What an agent had counted at one moment. Agent and engine are snapshots of names.

    The snapshots of one kind of an agent never go back in time, and within a run no count
    goes down: the sampling service sees to both.
    """

    count_columns: ClassVar[tuple[str, ...]]
    """The columns that a series is made of: `counts` is told from them."""

    agent = models.CharField(max_length=128)
    engine = models.CharField(max_length=128)
    taken_at = models.DateTimeField(db_index=True)
    trigger = models.CharField(max_length=16, choices=Trigger.choices)
    boot_id = models.CharField(
        max_length=64, blank=True, help_text="Of the agent's process; empty if it does not say."
    )
    run = models.PositiveIntegerField(
        help_text="From 1; one more each time the agent's counts began anew."
    )
    resolution_s = models.PositiveIntegerField(
        default=0, help_text="Seconds of the bucket that it stands for; 0: as it was sampled."
    )

    class Meta:
        abstract = True
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.agent}: run {self.run} at {self.taken_at.isoformat()}"

    @property
    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """What was counted since the run began, by name; a name that is missing counted
        nothing."""

    def went_down_since(self, earlier: Self) -> bool:
        """Whether any count is lower than it was."""
        now = self.counts
        return any(now.get(name, 0) < count for name, count in earlier.counts.items())

    @abstractmethod
    def was_said_before(self, other: Self) -> bool:
        """Whether the process that said `other` said this before, though it arrived later;
        the two questions overlapped."""


def _indexes(prefix: str) -> list[models.Index]:
    return [
        models.Index(fields=["agent", "taken_at"], name=f"{prefix}_of_agent"),
        models.Index(fields=["engine", "taken_at"], name=f"{prefix}_of_engine"),
        # Finds what is to be down-sampled without a look at a year of what is.
        models.Index(
            fields=["taken_at"],
            name=f"{prefix}_raw",
            condition=models.Q(resolution_s=0),
        ),
    ]


class ChunkStatisticsSnapshot(Snapshot):
    """What an agent had counted of chunks."""

    count_columns = ("total_requests", "total_chunks", "unique_chunks", "duplicate_chunks")

    reported_at = models.FloatField(help_text="Unix time of the counts by the agent's own clock.")
    enabled = models.BooleanField(help_text="Whether the agent was counting.")
    strategy = models.CharField(
        max_length=64, blank=True, help_text="How it counts; empty if it does not say."
    )
    total_requests = models.BigIntegerField(help_text="0 if the agent does not say.")
    total_chunks = models.BigIntegerField(help_text="unique_chunks + duplicate_chunks.")
    unique_chunks = models.BigIntegerField()
    duplicate_chunks = models.BigIntegerField()
    reuse_rate = models.FloatField(help_text="duplicate_chunks / total_chunks since the run began.")
    counters = models.JSONField(default=dict, help_text="The agent's counters, by name.")

    class Meta(Snapshot.Meta):
        indexes: ClassVar = _indexes("statistics")

    @property
    def counts(self) -> Mapping[str, int]:
        """The four counts under the names of their columns."""
        return {name: getattr(self, name) for name in self.count_columns}

    def was_said_before(self, other: Self) -> bool:
        """By the clock of the process: a reset may have come between the two."""
        return 0 < other.reported_at - self.reported_at <= _MAX_OVERTAKING_S


class TierStatisticsSnapshot(Snapshot):
    """What an agent had counted of its tiers, and what was in them."""

    count_columns = (*TOKEN_COUNTS, "tiers")

    requested_tokens = models.BigIntegerField(
        null=True, help_text="Tokens that retrieves asked for; null if the agent does not say."
    )
    retrieved_tokens = models.BigIntegerField(
        null=True, help_text="Of those, tokens that were restored."
    )
    stored_tokens = models.BigIntegerField(null=True, help_text="Tokens that were newly stored.")
    tiers = models.JSONField(
        help_text="By backend: looked_up_tokens and hit_tokens since the run began; chunks, "
        "used_bytes and capacity_bytes as they were, 0 for a capacity without a limit."
    )

    class Meta(Snapshot.Meta):
        indexes: ClassVar = _indexes("tiers")

    @property
    def counts(self) -> Mapping[str, int]:
        """Those of the agent under the names of their columns, as far as it says; those of
        its tiers as `tier_count` names them."""
        counts = {name: getattr(self, name) for name in TOKEN_COUNTS}
        said = {name: count for name, count in counts.items() if count is not None}
        for tier, values in self.tiers.items():
            said.update({tier_count(tier, name): values[name] for name in TIER_COUNTS})
        return said

    def was_said_before(self, other: Self) -> bool:
        """Nobody can reset these, so no count of one process goes down."""
        return self.went_down_since(other)


def tier_count(tier: str, name: str) -> str:
    """The name of a count of one tier."""
    return f"{tier}.{name}"


def tier_of(count: str) -> str:
    """The tier of a count of that name; "" if it is of no tier."""
    return count.rpartition(".")[0]


KINDS: tuple[type[Snapshot], ...] = (ChunkStatisticsSnapshot, TierStatisticsSnapshot)
"""Every kind of snapshot that is kept."""
