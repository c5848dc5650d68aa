"""Users with a role, and the tokens that act for them."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone


class UserRole(models.TextChoices):
    """What a caller may do; each role may do all that those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Position in the order of roles, 0 for the least."""
        return _RANKS[self.value]

    def includes(self, other: "UserRole") -> bool:
        """Whether this role may do all that the other one may."""
        return self.rank >= other.rank


_RANKS = {role.value: rank for rank, role in enumerate(UserRole)}


def one_line(text: str) -> None:
    """Raises ValidationError for control characters, line breaks among them."""
    if not text.isprintable():
        raise ValidationError("Leave out line breaks and control characters.")


class User(AbstractUser):
    """A person. `access_role` is what counts: a superuser is an admin."""

    role = models.CharField(
        max_length=16,
        choices=UserRole.choices,
        default=UserRole.VIEWER,
        help_text="Viewers read, operators change, admins manage agents, users and tokens.",
    )

    @property
    def access_role(self) -> UserRole:
        """The role the user acts with."""
        return UserRole.ADMIN if self.is_superuser else UserRole(self.role)


class ApiToken(models.Model):
    """A bearer token: only the SHA-256 digest of it is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(
        max_length=128, validators=[one_line], help_text="What the token is for."
    )
    role = models.CharField(max_length=16, choices=UserRole.choices)
    prefix = models.CharField(max_length=16, help_text="How the token begins, to recognise it.")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_usable(self) -> bool:
        """Neither revoked nor expired, and the user may still log in."""
        return (
            self.revoked_at is None
            and (self.expires_at is None or self.expires_at > timezone.now())
            and self.user.is_active
        )

    @property
    def access_role(self) -> UserRole:
        """The lower one of the token's role and what its user has now."""
        return min(UserRole(self.role), self.user.access_role, key=lambda role: role.rank)
