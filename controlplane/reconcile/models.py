"""What the control loop knows about each agent, and who runs it."""

from typing import ClassVar

from django.db import models

from controlplane.fleet.models import Agent


class Policy(models.TextChoices):
    """What is done about an agent that is not as it should be."""

    ENFORCE = "enforce"
    """It is put back."""
    REPORT = "report"
    """It is shown."""
    ADOPT = "adopt"
    """What is there becomes what should be."""


class Watch(models.Model):
    """The loop's notes on one agent. A controller holds it while it cares for the
    agent."""

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, related_name="watch")
    policy = models.CharField(
        max_length=16, choices=Policy.choices, blank=True, help_text="Empty: as the setting says."
    )
    boot_id = models.CharField(max_length=64, blank=True, help_text="Of the start last looked at.")
    verified_hash = models.CharField(
        max_length=64, blank=True, help_text="conf_hash that was found to be as it should be."
    )
    verified_revision = models.PositiveIntegerField(default=0)
    modes_known = models.BooleanField(
        default=False, help_text="Whether the modes that it was found in are kept."
    )
    missed = models.PositiveIntegerField(default=0, help_text="Polls in a row without an answer.")
    polled_at = models.DateTimeField(null=True)
    drift = models.JSONField(default=dict, help_text="What is not as it should be.")
    drift_since = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Repairs since it was last right.")
    next_attempt_at = models.DateTimeField(null=True)
    gave_up_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)
    retries = models.PositiveIntegerField(
        default=0,
        help_text="How often somebody told the loop to try again. What it noted before that "
        "is not written after it.",
    )
    sampled_at = models.DateTimeField(null=True, help_text="Chunk statistics.")
    sampled_boot_id = models.CharField(max_length=64, blank=True)
    holder = models.CharField(max_length=128, blank=True, db_index=True)
    held_until = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["agent__name"]
        verbose_name_plural = "watches"

    def __str__(self) -> str:
        return str(self.agent)


class Controller(models.Model):
    """A running control loop; one that is not heard of any more loses its agents."""

    name = models.CharField(max_length=128, unique=True, help_text="host:place:process:nonce")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    alive_until = models.DateTimeField(db_index=True)
    agents = models.PositiveIntegerField(default=0)
    cycle_ms = models.FloatField(default=0.0, help_text="How long its last round took.")

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name
