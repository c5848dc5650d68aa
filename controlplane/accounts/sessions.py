"""Logins and logouts on the record, wherever they happen: django's signals."""

import logging
from typing import Any

from django.contrib.auth import signals
from django.db import DatabaseError
from django.dispatch import receiver
from django.http import HttpRequest

from controlplane.accounts.actors import user_actor
from controlplane.accounts.models import User
from controlplane.audit import services as audit
from controlplane.audit.actors import Actor, ActorKind

logger = logging.getLogger(__name__)


@receiver(signals.user_logged_in)
def record_login(request: HttpRequest, user: User, **_: object) -> None:
    """Raises DatabaseError: who cannot be recorded does not get in."""
    audit.record(
        action="user.login",
        actor=user_actor(request),
        request_id=_request_id(request),
        target=f"user:{user.get_username()}",
        request={"username": user.get_username()},
        outcome="succeeded",
    )


@receiver(signals.user_logged_out)
def record_logout(request: HttpRequest, user: User | None, **_: object) -> None:
    """A failure to record is logged only: nobody is kept from logging out."""
    if user is None:
        return
    try:
        audit.record(
            action="user.logout",
            actor=user_actor(request),
            request_id=_request_id(request),
            target=f"user:{user.get_username()}",
            request={"username": user.get_username()},
            outcome="succeeded",
        )
    except DatabaseError:
        logger.exception("could not record that %s logged out", user.get_username())


@receiver(signals.user_login_failed)
def record_failed_login(
    credentials: dict[str, Any], request: HttpRequest | None = None, **_: object
) -> None:
    """With the name that was tried and without the password."""
    tried = str(credentials.get(User.USERNAME_FIELD, ""))[:150]
    audit.record_denial(
        action="user.login",
        actor=Actor(ActorKind.USER, "anonymous", "") if request is None else user_actor(request),
        request_id=_request_id(request),
        request={"username": tried},
    )


def _request_id(request: HttpRequest | None) -> str:
    # A login from a shell or a test has none.
    return str(getattr(request, "request_id", ""))
