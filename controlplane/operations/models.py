"""Operations: requested changes, with an outcome for every agent."""

from typing import ClassVar

from django.db import models

from controlplane.audit.actors import ActorKind
from controlplane.audit.limits import (
    MAX_ACTOR_NAME,
    MAX_REASON,
    MAX_SOURCE_ADDRESS,
    MAX_USER_AGENT,
)
from controlplane.operations.ids import new_operation_id


class State(models.TextChoices):
    """How far an operation, or its part on one agent, has come."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIALLY_FAILED = "partially_failed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Called off before any agent was called."""
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether it stays so, unless the control loop learns more about `unknown`."""
        return self not in (State.PENDING, State.RUNNING)


class Operation(models.Model):
    """One requested change. Written before any agent is called."""

    id = models.UUIDField(primary_key=True, default=new_operation_id, editable=False)
    action = models.CharField(max_length=64, db_index=True, help_text="entity.verb")
    endpoint = models.CharField(max_length=64, help_text="Operation id in the catalogue.")
    query = models.TextField(blank=True)
    body = models.JSONField(null=True)
    actor_kind = models.CharField(max_length=16, choices=ActorKind.choices)
    actor_name = models.CharField(max_length=MAX_ACTOR_NAME, db_index=True)
    actor_ref = models.CharField(max_length=255)
    source_address = models.CharField(max_length=MAX_SOURCE_ADDRESS, blank=True)
    user_agent = models.CharField(max_length=MAX_USER_AGENT, blank=True)
    on_behalf_of = models.CharField(max_length=MAX_ACTOR_NAME, blank=True)
    reason = models.CharField(max_length=MAX_REASON, blank=True)
    request_id = models.CharField(max_length=128, db_index=True)
    state = models.CharField(max_length=16, choices=State.choices, db_index=True)
    selector = models.JSONField(default=dict, help_text="Who was to be called; {} for one agent.")
    strategy = models.JSONField(default=dict, help_text="Waves, pauses, failures that are borne.")
    options = models.JSONField(default=dict, help_text="What else the caller wished.")
    concurrency = models.PositiveSmallIntegerField(default=1, help_text="Calls at once.")
    timeout_s = models.FloatField(default=0.0, help_text="Seconds that each agent has.")
    retry_of = models.UUIDField(null=True, help_text="The operation whose failures it repeats.")
    undo_of = models.UUIDField(
        null=True, db_index=True, help_text="The operation that it takes back."
    )
    sealed = models.TextField(blank=True, editable=False)
    idempotency_key = models.CharField(max_length=128, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the request.")
    cancel_requested_at = models.DateTimeField(null=True)
    paused_until = models.DateTimeField(
        null=True, help_text="When the next wave begins; null: none is waited for."
    )
    rollback_began_at = models.DateTimeField(
        null=True, help_text="When it began to take back what was done; null: it did not."
    )
    lease_owner = models.CharField(max_length=128, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_index=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["actor_ref", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="operations_idempotency_key_once",
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["lease_until"],
                condition=models.Q(state__in=["pending", "running"]),
                name="operations_unfinished",
            ),
            # Few operations are retries.
            models.Index(
                fields=["retry_of"],
                condition=models.Q(retry_of__isnull=False),
                name="operations_retries",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.id}"


class OperationTarget(models.Model):
    """An operation's part on one agent. The agent's name is a snapshot."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="targets")
    agent = models.CharField(max_length=128, db_index=True)
    state = models.CharField(max_length=16, choices=State.choices)
    wave = models.PositiveSmallIntegerField(default=0, help_text="Waves follow each other.")
    undone = models.BooleanField(default=False, help_text="Whether it was taken back.")
    undo_error = models.CharField(
        max_length=500, blank=True, help_text="Why it was to be taken back, and was not."
    )
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)
    error = models.JSONField(null=True)
    duration_ms = models.FloatField(null=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.agent}: {self.state}"
