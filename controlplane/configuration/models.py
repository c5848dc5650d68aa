"""Configuration revisions: what an agent's configuration should be, and was."""

from typing import ClassVar

from django.db import models

from controlplane.audit.actors import ActorKind
from controlplane.audit.limits import MAX_ACTOR_NAME, MAX_REASON


class RevisionState(models.TextChoices):
    """What became of a revision."""

    PENDING = "pending"
    """Sent, or about to be."""
    ACTIVE = "active"
    """What the agent should have now."""
    SUPERSEDED = "superseded"
    """What it should have had once."""
    FAILED = "failed"
    """Refused, or never arrived; it was never active."""
    UNKNOWN = "unknown"
    """No answer came; the control loop finds out."""


class Source(models.TextChoices):
    """Where a revision comes from."""

    IMPORT = "import"
    CHANGE = "change"
    ROLLBACK = "rollback"
    ADOPT = "adopt"
    """Somebody changed the agent past the control plane, and that was accepted."""
    RESTART = "restart"
    """The agent started with other fixed settings."""


class ConfigRevision(models.Model):
    """One numbered state of one agent's configuration. Once it is settled its content
    never changes, which the database enforces; only `active` becomes `superseded`.

    The agent's name is a snapshot: removing the agent takes no history away. Secrets
    read `***`; `sealed` holds them encrypted.
    """

    agent = models.CharField(max_length=128)
    number = models.PositiveIntegerField(help_text="Counts from 1 for each agent.")
    parent = models.PositiveIntegerField(null=True, help_text="The number it was made from.")
    restored_from = models.PositiveIntegerField(
        null=True, help_text="The number whose values a rollback restored."
    )
    state = models.CharField(max_length=16, choices=RevisionState.choices)
    source = models.CharField(max_length=16, choices=Source.choices)
    requested = models.JSONField(default=dict, help_text="What was asked for.")
    values = models.JSONField(default=dict, help_text="Every key, as it should be.")
    diff = models.JSONField(default=dict, help_text="Against the parent: key, from, to.")
    refused = models.JSONField(default=dict, help_text="Keys that were not set, and why not.")
    sealed = models.TextField(blank=True, editable=False)
    complete = models.BooleanField(
        default=True, help_text="Whether `values` has every key, not only those that were set."
    )
    operation_id = models.UUIDField(null=True, db_index=True)
    request_id = models.CharField(max_length=128)
    actor_kind = models.CharField(max_length=16, choices=ActorKind.choices)
    actor_name = models.CharField(max_length=MAX_ACTOR_NAME, db_index=True)
    actor_ref = models.CharField(max_length=255)
    reason = models.CharField(max_length=MAX_REASON, blank=True)
    created_at = models.DateTimeField(db_index=True)
    deadline_at = models.DateTimeField(help_text="Until when an answer may come.")
    settled_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["agent", "number"], name="configuration_revision_number_once"
            ),
            models.UniqueConstraint(
                fields=["agent"],
                condition=models.Q(state="active"),
                name="configuration_one_active_revision",
            ),
            models.UniqueConstraint(
                fields=["agent"],
                condition=models.Q(state="pending"),
                name="configuration_one_pending_revision",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent} {self.number}"


class ConfigSchema(models.Model):
    """What an agent last said about its configuration keys."""

    agent = models.CharField(max_length=128, unique=True)
    keys = models.JSONField(help_text="As `keys` of GET /conf/schema.")
    read_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.agent
