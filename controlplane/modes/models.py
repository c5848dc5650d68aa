"""Modes: what an agent should be in now, and every change that led there."""

from datetime import datetime
from typing import ClassVar

from django.db import models

from controlplane.audit.actors import ActorKind
from controlplane.audit.limits import MAX_ACTOR_NAME, MAX_REASON


class Mode(models.TextChoices):
    """A switch of an agent."""

    FREEZE = "freeze"
    HOT_CACHE = "hot_cache"
    BYPASS = "bypass"
    """One for each backend."""


class ModeChangeState(models.TextChoices):
    """What became of a change."""

    PENDING = "pending"
    APPLIED = "applied"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """No answer came; the control loop finds out."""


class ModeSource(models.TextChoices):
    """Where a change comes from."""

    IMPORT = "import"
    CHANGE = "change"
    EXPIRY = "expiry"
    """The time of an earlier change was up."""
    ROLLBACK = "rollback"
    """An operation over several agents took its part back."""
    ADOPT = "adopt"
    """Somebody changed the agent past the control plane, and that was accepted."""


class ModeChange(models.Model):
    """One change of one mode of one agent; the agent's name is a snapshot."""

    agent = models.CharField(max_length=128)
    mode = models.CharField(max_length=16, choices=Mode.choices)
    backend = models.CharField(max_length=64, blank=True, help_text="Of a bypass, else empty.")
    from_value = models.BooleanField(null=True, help_text="null: nothing was known.")
    to_value = models.BooleanField()
    state = models.CharField(max_length=16, choices=ModeChangeState.choices)
    source = models.CharField(max_length=16, choices=ModeSource.choices)
    expires_at = models.DateTimeField(null=True, help_text="When it is reverted by itself.")
    revert_to = models.BooleanField(null=True, help_text="To what; null: it does not expire.")
    from_expires_at = models.DateTimeField(
        null=True, help_text="When what was before would have been reverted by itself."
    )
    from_revert_to = models.BooleanField(null=True, help_text="To what that would have been.")
    operation_id = models.UUIDField(null=True, db_index=True)
    request_id = models.CharField(max_length=128)
    actor_kind = models.CharField(max_length=16, choices=ActorKind.choices)
    actor_name = models.CharField(max_length=MAX_ACTOR_NAME, db_index=True)
    actor_ref = models.CharField(max_length=255)
    reason = models.CharField(max_length=MAX_REASON, blank=True)
    created_at = models.DateTimeField(db_index=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["agent", "mode", "backend", "id"], name="modes_change_of_agent")
        ]

    def __str__(self) -> str:
        what = f"{self.mode} {self.backend}".strip()
        return f"{self.agent}: {what} {'on' if self.to_value else 'off'}"


class DesiredMode(models.Model):
    """What one mode of one agent should be; the newest change that was applied."""

    agent = models.CharField(max_length=128)
    mode = models.CharField(max_length=16, choices=Mode.choices)
    backend = models.CharField(max_length=64, blank=True, help_text="Of a bypass, else empty.")
    value = models.BooleanField()
    since = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, db_index=True)
    revert_to = models.BooleanField(null=True)
    revert_attempts = models.PositiveIntegerField(
        default=0, help_text="How often the agent did not go back when the time was up."
    )
    next_revert_at = models.DateTimeField(null=True)
    revert_gave_up_at = models.DateTimeField(null=True)
    revert_error = models.CharField(max_length=500, blank=True)
    change = models.ForeignKey(ModeChange, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering: ClassVar = ["agent", "mode", "backend"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["agent", "mode", "backend"], name="modes_desired_once")
        ]

    def __str__(self) -> str:
        what = f"{self.mode} {self.backend}".strip()
        return f"{self.agent}: {what} {'on' if self.value else 'off'}"

    def is_over(self, now: datetime) -> bool:
        """Whether its time is up."""
        return self.expires_at is not None and self.expires_at <= now

    def is_to_be_ended(self, now: datetime) -> bool:
        """Whether its time is up and it is to be reverted in this round."""
        waits = self.next_revert_at is not None and self.next_revert_at > now
        return self.is_over(now) and self.revert_gave_up_at is None and not waits
