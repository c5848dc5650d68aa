"""Making and changing users and API tokens, each change on the record."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.accounts.secrets import API_TOKEN_PREFIX, digest_of, make_secret
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.rows import Columns, read_rows
from engine.contract import ContractError

LAST_USED_PRECISION = timedelta(minutes=5)


class RoleNotAllowed(ContractError):
    """A token was asked for that may do more than whoever asks."""

    def __init__(self, wanted: UserRole, ceiling: UserRole) -> None:
        super().__init__(
            403,
            "Role not allowed",
            f"A token may not have the role '{wanted}' here; ask for '{ceiling}' or less.",
            {"fields": {"role": [f"At most '{ceiling}'."]}},
        )


class LastAdmin(ContractError):
    """The change would leave nobody who can manage users."""

    def __init__(self) -> None:
        super().__init__(
            409,
            "Last admin",
            "This is the only active admin; make another user an admin first.",
        )


class NameTaken(ContractError):
    """A user of that name exists."""

    def __init__(self, username: str) -> None:
        super().__init__(409, "Name taken", f"A user '{username}' exists; choose another name.")


@dataclass(frozen=True)
class IssuedToken:
    """A token just made. `plaintext` exists nowhere else and is shown once."""

    token: ApiToken
    plaintext: str

    def __repr__(self) -> str:
        return f"IssuedToken(token={self.token!r})"


_TOKEN_AND_OWNER = (
    Columns(
        ApiToken,
        "token",
        ("id", "user", "name", "role", "expires_at", "revoked_at", "last_used_at"),
    ),
    Columns(User, "owner", ("id", "username", "role", "is_active", "is_superuser")),
)
_OF_A_DIGEST = """
FROM accounts_apitoken token JOIN accounts_user owner ON owner.id = token.user_id
WHERE token.digest = %s
"""


def find_usable_token(plaintext: str) -> ApiToken | None:
    """The token with its user, in one query; None if there is no such token or
    it may not be used any more. What a login does not need loads when asked for."""
    for token, owner in read_rows(_TOKEN_AND_OWNER, _OF_A_DIGEST, [digest_of(plaintext)]):
        token.user = owner
        return token if token.is_usable else None
    return None


def note_use(token: ApiToken) -> None:
    """Remember that the token was used, to a precision of five minutes: a write
    for every read would make every read wait for the disk."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at >= LAST_USED_PRECISION:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        token.last_used_at = now


def create_token(
    *,
    user: User,
    name: str,
    role: UserRole,
    expires_at: datetime | None,
    granted_by: UserRole,
    actor: Actor,
    request_id: str,
) -> IssuedToken:
    """Make a token that acts for `user` with at most `role`.

    `granted_by` is the role that the caller acts with. Raises RoleNotAllowed
    if `role` exceeds that or the user's own, and django's ValidationError for a
    name that is empty, too long or not one line.
    """
    ceiling = min(user.access_role, granted_by, key=lambda role: role.rank)
    if not ceiling.includes(role):
        raise RoleNotAllowed(role, ceiling)
    secret = make_secret(API_TOKEN_PREFIX)
    token = ApiToken(
        user=user,
        name=name,
        role=role,
        prefix=secret.prefix,
        digest=secret.digest,
        expires_at=expires_at,
    )
    token.clean_fields(exclude=["user"])
    with transaction.atomic():
        token.save(force_insert=True)
        audit.record(
            action="api_token.create",
            target=f"api_token:{token.pk}",
            actor=actor,
            request_id=request_id,
            request={
                "id": token.pk,
                "name": name,
                "user": user.username,
                "role": role.value,
                "prefix": token.prefix,
                "expires_at": expires_at.isoformat() if expires_at else None,
            },
            outcome="succeeded",
        )
    return IssuedToken(token, secret.plaintext)


def revoke_token(token: ApiToken, *, actor: Actor, request_id: str) -> None:
    """Make the token useless from now on; one that is revoked already stays so."""
    with transaction.atomic():
        revoked = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(
            revoked_at=timezone.now()
        )
        if not revoked:
            return
        audit.record(
            action="api_token.revoke",
            target=f"api_token:{token.pk}",
            actor=actor,
            request_id=request_id,
            request={"id": token.pk, "name": token.name, "prefix": token.prefix},
            outcome="succeeded",
        )


def create_user(
    *,
    username: str,
    password: str,
    role: UserRole,
    actor: Actor,
    request_id: str,
    email: str = "",
    is_active: bool = True,
) -> User:
    """Make a user, who can log in if active. Raises NameTaken, and django's
    ValidationError for a weak password and for what cannot be a name or an
    e-mail address."""
    user = User(username=username, email=email, role=role, is_active=is_active)
    user.full_clean(exclude=["password"], validate_unique=False)
    validate_password(password, user)
    user.set_password(password)
    with transaction.atomic():
        try:
            with transaction.atomic():
                user.save(force_insert=True)
        except IntegrityError:
            raise NameTaken(user.username) from None
        audit.record(
            action="user.create",
            target=f"user:{user.username}",
            actor=actor,
            request_id=request_id,
            request={"id": user.pk, "username": user.username},
            after={"email": user.email, "role": role.value, "is_active": is_active},
            outcome="succeeded",
        )
    return user


CHANGEABLE = ("email", "role", "is_active")


def update_user(
    user: User, changes: Mapping[str, object], *, actor: Actor, request_id: str
) -> User:
    """Change `email`, `role`, `is_active` or `password`, whichever is given.

    Raises LastAdmin, and django's ValidationError for a weak password.
    """
    with transaction.atomic():
        admins = _lock_admins()
        user = User.objects.select_for_update().get(pk=user.pk)
        before = {name: getattr(user, name) for name in CHANGEABLE if name in changes}
        for name in before:
            setattr(user, name, changes[name])
        if "password" in changes:
            password = str(changes["password"])
            validate_password(password, user)
            user.set_password(password)
        still_admin = user.is_active and user.access_role is UserRole.ADMIN
        if admins == [user.pk] and not still_admin:
            raise LastAdmin
        user.save()
        audit.record(
            action="user.update",
            target=f"user:{user.username}",
            actor=actor,
            request_id=request_id,
            request={
                "id": user.pk,
                "username": user.username,
                "password": "changed" if "password" in changes else "",
            },
            before=before,
            after={name: changes[name] for name in before},
            outcome="succeeded",
        )
    return user


def delete_user(user: User, *, actor: Actor, request_id: str) -> None:
    """Delete the user and the user's tokens; the audit log keeps the name.
    Raises LastAdmin."""
    with transaction.atomic():
        if _lock_admins() == [user.pk]:
            raise LastAdmin
        before = {"role": user.access_role.value, "is_active": user.is_active}
        number = user.pk
        user.delete()
        audit.record(
            action="user.delete",
            target=f"user:{user.username}",
            actor=actor,
            request_id=request_id,
            request={"id": number, "username": user.username},
            before=before,
            outcome="succeeded",
        )


def is_last_admin(user: User) -> bool:
    """Whether the user, as the database has it, is the only active admin."""
    return list(_acting_admins().values_list("pk", flat=True)) == [user.pk]


def _acting_admins() -> QuerySet[User]:
    return User.objects.filter(
        Q(role=UserRole.ADMIN) | Q(is_superuser=True), is_active=True
    ).order_by("pk")


def _lock_admins() -> list[int]:
    """Those who are active admins, locked, until the transaction ends. Whoever
    changes users does this first: the order keeps two from waiting for each
    other, and the lock from demoting the last two admins at once."""
    return list(_acting_admins().select_for_update().values_list("pk", flat=True))
