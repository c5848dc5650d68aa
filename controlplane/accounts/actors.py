"""The caller of a request as an audit actor."""

import getpass

from django.http import HttpRequest
from rest_framework.request import Request

from controlplane.accounts.models import ApiToken, User
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.models import MAX_ACTOR_NAME, MAX_SOURCE_ADDRESS


def source_address(request: Request | HttpRequest) -> str:
    """The IP address that the connection came from, as much as a row can hold."""
    return str(request.META.get("REMOTE_ADDR") or "")[:MAX_SOURCE_ADDRESS]


def request_actor(request: Request) -> Actor:
    """Who calls: a token (with its user's name), a user, or nobody known."""
    if isinstance(request.auth, ApiToken):
        token = request.auth
        return Actor(
            ActorKind.TOKEN,
            f"{token.user.get_username()}/{token.name}",
            f"token:{token.pk}",
            source_address(request),
        )
    return user_actor(request)


def user_actor(request: Request | HttpRequest) -> Actor:
    """Who is logged in, or nobody known."""
    # A request that a middleware refuses may have no user yet.
    user = getattr(request, "user", None)
    if isinstance(user, User):
        return Actor(
            ActorKind.USER, user.get_username(), f"user:{user.pk}", source_address(request)
        )
    return Actor(ActorKind.USER, "anonymous", "", source_address(request))


def command_actor(command: str) -> Actor:
    """A management command, with the system account that runs it."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = "unknown"
    return Actor(ActorKind.COMMAND, account[:MAX_ACTOR_NAME], f"command:{command}")
