"""Tokens with which agents register themselves."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from controlplane.accounts.secrets import ENROLMENT_TOKEN_PREFIX, digest_of, make_secret
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor
from controlplane.fleet.models import EnrolmentToken
from engine.contract import Unauthorized


@dataclass(frozen=True)
class IssuedEnrolmentToken:
    """A token just made. `plaintext` exists nowhere else and is shown once."""

    token: EnrolmentToken
    plaintext: str

    def __repr__(self) -> str:
        return f"IssuedEnrolmentToken(token={self.token!r})"


def find_enrolment_token(plaintext: str) -> EnrolmentToken:
    """The token that agents may enrol with. Raises Unauthorized."""
    token = EnrolmentToken.objects.filter(digest=digest_of(plaintext)).first()
    if token is None or not token.is_usable:
        raise Unauthorized("The enrolment token is unknown, revoked or expired; ask an admin.")
    return token


def find_parting_token(plaintext: str) -> EnrolmentToken:
    """The token that agents may take their leave with: it may have expired since they
    enrolled. Raises Unauthorized."""
    token = EnrolmentToken.objects.filter(digest=digest_of(plaintext), revoked_at=None).first()
    if token is None:
        raise Unauthorized("The enrolment token is unknown or revoked; ask an admin.")
    return token


def create_enrolment_token(
    *, name: str, expires_at: datetime | None, actor: Actor, request_id: str
) -> IssuedEnrolmentToken:
    """Make a token with which agents register themselves."""
    secret = make_secret(ENROLMENT_TOKEN_PREFIX)
    with transaction.atomic():
        token = EnrolmentToken.objects.create(
            name=name, prefix=secret.prefix, digest=secret.digest, expires_at=expires_at
        )
        audit.record(
            action="enrolment_token.create",
            target=f"enrolment_token:{token.pk}",
            actor=actor,
            request_id=request_id,
            request={
                "id": token.pk,
                "name": name,
                "prefix": token.prefix,
                "expires_at": expires_at.isoformat() if expires_at else None,
            },
            outcome="succeeded",
        )
    return IssuedEnrolmentToken(token, secret.plaintext)


def revoke_enrolment_token(token: EnrolmentToken, *, actor: Actor, request_id: str) -> None:
    """Make the token useless from now on; agents enrolled with it stay."""
    usable: QuerySet[EnrolmentToken] = EnrolmentToken.objects.filter(pk=token.pk, revoked_at=None)
    with transaction.atomic():
        if usable.update(revoked_at=timezone.now()):
            audit.record(
                action="enrolment_token.revoke",
                target=f"enrolment_token:{token.pk}",
                actor=actor,
                request_id=request_id,
                request={"id": token.pk, "name": token.name, "prefix": token.prefix},
                outcome="succeeded",
            )
