"""Engines, the agents of their processes, and the tokens agents enrol with."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from controlplane.fleet import vault
from engine.contract import Role

ROLE_CHOICES = [(role.value, role.value) for role in Role]


class Dialect(models.TextChoices):
    """Which program answers at an agent's address."""

    KVPLANE = "kvplane"
    LMCACHE = "lmcache"


class Health(models.TextChoices):
    """What is known of an agent's process."""

    UNKNOWN = "unknown"
    """It has not been heard of, or not lately."""
    ONLINE = "online"
    OFFLINE = "offline"
    """It was asked several times and did not answer."""


class Engine(models.Model):
    """One vLLM instance: a scheduler and its workers."""

    name = models.CharField(max_length=128, unique=True)
    labels = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class EnrolmentToken(models.Model):
    """Lets agents register themselves; only the SHA-256 digest is kept."""

    name = models.CharField(max_length=128, help_text="What the token is for.")
    prefix = models.CharField(max_length=16, help_text="How the token begins, to recognise it.")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_usable(self) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (
            self.expires_at is None or self.expires_at > timezone.now()
        )


class Agent(models.Model):
    """One process that serves the documented API."""

    name = models.CharField(max_length=128, unique=True)
    engine = models.ForeignKey(Engine, on_delete=models.PROTECT, related_name="agents")
    role = models.CharField(max_length=16, choices=ROLE_CHOICES)
    worker_id = models.PositiveIntegerField(null=True, blank=True)
    url = models.CharField(max_length=255, help_text="Scheme, host and port.")
    dialect = models.CharField(max_length=16, choices=Dialect.choices, default=Dialect.KVPLANE)
    encrypted_token = models.TextField(blank=True, editable=False)
    labels = models.JSONField(default=dict, blank=True)
    instance_id = models.CharField(max_length=255, blank=True)
    boot_id = models.CharField(max_length=64, blank=True)
    enrolled_with = models.ForeignKey(
        EnrolmentToken, on_delete=models.SET_NULL, null=True, blank=True, related_name="agents"
    )
    registered_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    last_status = models.JSONField(default=dict, blank=True)
    health = models.CharField(
        max_length=16, choices=Health.choices, default=Health.UNKNOWN, db_index=True
    )
    health_since = models.DateTimeField(null=True, blank=True)
    left_at = models.DateTimeField(
        null=True, blank=True, help_text="When it said that its process ends; empty while it runs."
    )

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="fleet_agent_worker_id_iff_worker",
                condition=models.Q(role=Role.SCHEDULER.value, worker_id__isnull=True)
                | models.Q(role=Role.WORKER.value, worker_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def bearer_token(self) -> str:
        """The agent's token in the clear, "" if it has none. Raises
        vault.UnreadableToken if it was encrypted with a key we do not have."""
        return vault.decrypt(self.encrypted_token) if self.encrypted_token else ""
