"""Users and tokens: whether somebody gets in, and what is about to stop working."""

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.fleet.models import EnrolmentToken
from controlplane.launcher.checkup.finding import Finding, bad, ok, warn

AREA = "tokens"
_SOON = timedelta(days=14)


def check_admins() -> Iterator[Finding]:
    """Whether an admin can log in."""
    active = User.objects.filter(is_active=True)
    admins = [user for user in active if user.access_role is UserRole.ADMIN]
    if not admins:
        yield bad(AREA, "there is no admin", "Make one: `manage.py create_user NAME --role admin`.")
    for admin in admins:
        if not admin.has_usable_password():
            yield warn(
                AREA,
                f"the admin {admin.username} has no password",
                f"Set one: `manage.py changepassword {admin.username}`.",
            )
    if any(admin.has_usable_password() for admin in admins):
        yield ok(AREA, f"{len(admins)} admins")


def check_tokens() -> Iterator[Finding]:
    """Which tokens have expired, or will."""
    api = ApiToken.objects.filter(revoked_at=None).select_related("user")
    enrolment = EnrolmentToken.objects.filter(revoked_at=None)
    found = [
        *_check("API token", api, "Make a new one: `manage.py create_token`; revoke this one."),
        *_check(
            "enrolment token",
            enrolment,
            "Make a new one: `manage.py create_enrolment_token`; revoke this one.",
        ),
    ]
    yield from found or [ok(AREA, "none has expired, or will within two weeks")]


def _check(
    kind: str, tokens: QuerySet[ApiToken] | QuerySet[EnrolmentToken], remedy: str
) -> Iterator[Finding]:
    now = timezone.now()
    for token in tokens.filter(expires_at__lt=now + _SOON).order_by("expires_at"):
        if token.expires_at is None:
            continue
        verb = "expired" if token.expires_at <= now else "expires"
        yield warn(AREA, f"{kind} {token} {verb} on {token.expires_at:%Y-%m-%d %H:%M} UTC", remedy)
