"""The audit log: rows are added and never touched again."""

import json
from functools import cached_property
from typing import Any, ClassVar, NoReturn

from django.db import models

from controlplane.audit import columns
from controlplane.audit.actors import ActorKind
from controlplane.audit.limits import MAX_ACTOR_NAME, MAX_REASON


class AppendOnlyError(TypeError):
    """Somebody tried to change or delete an audit entry."""

    def __init__(self) -> None:
        super().__init__(
            "Audit entries are append-only; audit.services.record adds them, nothing changes or "
            "deletes them."
        )


class Stage(models.TextChoices):
    """Which moment of a change an entry records."""

    REQUESTED = "requested"
    COMPLETED = "completed"
    EVENT = "event"


class AppendOnlyQuerySet(models.QuerySet["AuditEntry"]):
    """A query set that reads. The database itself refuses the rest too."""

    def update(self, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def delete(self) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def create(self, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def get_or_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def update_or_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def _raw_delete(self, using: str | None) -> NoReturn:
        raise AppendOnlyError


class AuditEntry(models.Model):
    """One moment of one change, with snapshots instead of foreign keys:
    deleting a user or an agent takes no history away.

    `document` is all that it says, in canonical JSON; `key_id`, `previous` and `mac`
    are its place in the chain (`chain.py`).
    """

    key_id = models.CharField(max_length=16)
    previous = models.CharField(max_length=64, help_text="The mac of the entry before.")
    mac = models.CharField(max_length=64, help_text="HMAC-SHA-256, hexadecimal.")
    document = models.TextField()

    created_at = columns.moment("at")
    stage = columns.text("stage", 16, choices=Stage.choices)
    action = columns.text("action", 64)
    operation_id = columns.identifier("operation_id")
    request_id = columns.text("request_id", 128)
    actor_kind = columns.text("actor_kind", 16, choices=ActorKind.choices)
    actor_name = columns.text("actor_name", MAX_ACTOR_NAME)
    actor_ref = columns.text("actor_ref", 255)
    target = columns.text("target", 400)
    agent = columns.text("agent", 128)
    engine = columns.text("engine", 128)
    reason = columns.text("reason", MAX_REASON)
    outcome = columns.text("outcome", 32)
    status = columns.small_number("status")

    objects: ClassVar = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        base_manager_name = "objects"
        verbose_name_plural = "audit entries"
        # Each ends with the number: a page of a filter is a range of one index.
        indexes: ClassVar = [
            models.Index(fields=["created_at", "id"], name="audit_at"),
            models.Index(fields=["action", "id"], name="audit_action"),
            models.Index(fields=["actor_name", "id"], name="audit_actor"),
            models.Index(fields=["target", "id"], name="audit_target"),
            models.Index(fields=["agent", "id"], name="audit_agent"),
            models.Index(fields=["engine", "id"], name="audit_engine"),
            models.Index(fields=["outcome", "id"], name="audit_outcome"),
            models.Index(fields=["request_id", "id"], name="audit_request"),
            models.Index(fields=["operation_id", "id"], name="audit_operation"),
            models.Index(fields=["stage", "id"], name="audit_stage"),
            models.Index(fields=["status", "id"], name="audit_status"),
            models.Index(fields=["actor_kind", "id"], name="audit_actor_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.stage} by {self.actor_name}"

    @cached_property
    def content(self) -> dict[str, Any]:
        """The document, read."""
        read: dict[str, Any] = json.loads(self.document)
        return read

    @property
    def request(self) -> Any:
        """What was asked for, redacted."""
        return self.content["request"]

    @property
    def answer(self) -> Any:
        """What came of it, redacted."""
        return self.content["answer"]

    @property
    def before(self) -> Any:
        """The state before; null if nothing had one."""
        return self.content["before"]

    @property
    def after(self) -> Any:
        """The state after; null if nothing has one."""
        return self.content["after"]

    @property
    def diff(self) -> Any:
        """How they differ, by key."""
        return self.content["diff"]

    @property
    def source_address(self) -> str:
        """The IP address that the call came from."""
        return str(self.content["source_address"])

    @property
    def user_agent(self) -> str:
        """What the caller's program calls itself."""
        return str(self.content["user_agent"])

    @property
    def on_behalf_of(self) -> str:
        """For whom the caller says to act."""
        return str(self.content["on_behalf_of"])

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds, as far as somebody measured."""
        duration: float | None = self.content["duration_ms"]
        return duration

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises AppendOnlyError."""
        raise AppendOnlyError


class ForwardingCursor(models.Model):
    """How far entries were forwarded to one receiver, and who does it now."""

    name = models.CharField(max_length=16, unique=True)
    last_id = models.BigIntegerField(help_text="The number of the last entry delivered.")
    delivered_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0, help_text="That failed, since then.")
    last_error = models.CharField(max_length=500, blank=True)
    holder = models.CharField(max_length=128, blank=True, editable=False)
    held_until = models.DateTimeField(null=True, editable=False)

    def __str__(self) -> str:
        return f"{self.name} up to {self.last_id}"
