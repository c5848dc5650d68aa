"""Operations: requested changes, with an outcome for every agent."""

from typing import ClassVar

from django.db import models

from controlplane.audit.actors import ActorKind
from controlplane.audit.models import MAX_ACTOR_NAME, MAX_REASON, MAX_SOURCE_ADDRESS
from controlplane.operations.ids import new_operation_id


class State(models.TextChoices):
    """How far an operation, or its part on one agent, has come."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIALLY_FAILED = "partially_failed"
    FAILED = "failed"
    UNKNOWN = "unknown"


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
    reason = models.CharField(max_length=MAX_REASON, blank=True)
    request_id = models.CharField(max_length=128, db_index=True)
    state = models.CharField(max_length=16, choices=State.choices, db_index=True)
    created_at = models.DateTimeField(db_index=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.action} {self.id}"


class OperationTarget(models.Model):
    """An operation's part on one agent. The agent's name is a snapshot."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="targets")
    agent = models.CharField(max_length=128, db_index=True)
    state = models.CharField(max_length=16, choices=State.choices)
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)
    error = models.JSONField(null=True)
    duration_ms = models.FloatField(null=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.agent}: {self.state}"
