"""Snapshots of agents' chunk statistics: the agents forget theirs when they restart."""

from typing import ClassVar

from django.db import models


class Trigger(models.TextChoices):
    """What a snapshot was taken for."""

    INTERVAL = "interval"
    START = "start"
    STOP = "stop"
    RESET = "reset"
    """Taken after the reset: the first of its run."""
    RESTART = "restart"
    MANUAL = "manual"


class ChunkStatisticsSnapshot(models.Model):
    """What an agent had counted at one moment. Agent and engine are snapshots of names.

    The snapshots of an agent never go back in time, and within a run no count goes down:
    the sampling service sees to both.
    """

    agent = models.CharField(max_length=128)
    engine = models.CharField(max_length=128)
    taken_at = models.DateTimeField(db_index=True)
    reported_at = models.FloatField(help_text="Unix time of the counts by the agent's own clock.")
    trigger = models.CharField(max_length=16, choices=Trigger.choices)
    boot_id = models.CharField(
        max_length=64, blank=True, help_text="Of the agent's process; empty if it does not say."
    )
    run = models.PositiveIntegerField(
        help_text="From 1; one more each time the agent's counts began anew."
    )
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
    resolution_s = models.PositiveIntegerField(
        default=0, help_text="Seconds of the bucket that it stands for; 0: as it was sampled."
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["agent", "taken_at"], name="statistics_of_agent"),
            models.Index(fields=["engine", "taken_at"], name="statistics_of_engine"),
            # Finds what is to be down-sampled without a look at a year of what is.
            models.Index(
                fields=["taken_at"],
                name="statistics_raw",
                condition=models.Q(resolution_s=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent}: run {self.run} at {self.taken_at.isoformat()}"
