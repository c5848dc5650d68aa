"""The audit log: rows are added and never touched again."""

from typing import Any, ClassVar, NoReturn

from django.db import models

from controlplane.audit.actors import ActorKind

MAX_REASON = 500
# A user's name, a slash, a token's name: 279 characters.
MAX_ACTOR_NAME = 300
MAX_SOURCE_ADDRESS = 64


class AppendOnlyError(TypeError):
    """Somebody tried to change or delete an audit entry."""

    def __init__(self) -> None:
        super().__init__("Audit entries are append-only; they are neither changed nor deleted.")


class Stage(models.TextChoices):
    """Which moment of a change an entry records."""

    REQUESTED = "requested"
    COMPLETED = "completed"
    EVENT = "event"


class AppendOnlyQuerySet(models.QuerySet["AuditEntry"]):
    """A query set that reads and adds, nothing else."""

    def update(self, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def delete(self) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list["AuditEntry"]:
        """Adds rows. Raises AppendOnlyError when asked to overwrite conflicting ones."""
        if args or kwargs.get("update_conflicts"):
            raise AppendOnlyError
        return super().bulk_create(objs, **kwargs)

    def update_or_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def _raw_delete(self, using: str | None) -> NoReturn:
        raise AppendOnlyError


class AuditEntry(models.Model):
    """One moment of one change, with snapshots instead of foreign keys:
    deleting a user or an agent takes no history away."""

    created_at = models.DateTimeField(db_index=True)
    stage = models.CharField(max_length=16, choices=Stage.choices)
    action = models.CharField(max_length=64, db_index=True, help_text="entity.verb")
    operation_id = models.UUIDField(null=True, db_index=True)
    request_id = models.CharField(max_length=128, db_index=True)
    actor_kind = models.CharField(max_length=16, choices=ActorKind.choices)
    actor_name = models.CharField(max_length=MAX_ACTOR_NAME, db_index=True)
    actor_ref = models.CharField(max_length=255)
    source_address = models.CharField(max_length=MAX_SOURCE_ADDRESS, blank=True)
    agent = models.CharField(max_length=128, blank=True, db_index=True)
    reason = models.CharField(max_length=MAX_REASON, blank=True)
    request = models.JSONField(default=dict)
    answer = models.JSONField(null=True)
    outcome = models.CharField(max_length=32, blank=True)
    status = models.PositiveSmallIntegerField(null=True)
    duration_ms = models.FloatField(null=True)

    objects: ClassVar = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        base_manager_name = "objects"
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.action} {self.stage} by {self.actor_name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Adds the row. Raises AppendOnlyError if it exists already."""
        if not self._state.adding:
            raise AppendOnlyError
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError
