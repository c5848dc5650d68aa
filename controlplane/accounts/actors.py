"""The caller of a request as an audit actor."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

from controlplane.accounts.models import ApiToken, User
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.commands import command_actor
from controlplane.audit.limits import MAX_ACTOR_NAME, MAX_SOURCE_ADDRESS, MAX_USER_AGENT
from controlplane.audit.redaction import redact_text

__all__ = ["command_actor", "request_actor", "source_address", "user_actor"]

_FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
_USER_AGENT = "HTTP_USER_AGENT"
_ON_BEHALF_OF = "HTTP_X_KVPLANE_ON_BEHALF_OF"


def source_address(request: Request | HttpRequest) -> str:
    """The IP address that the call came from, as much as a row can hold.

    That is the other end of the connection; if that is one of
    KVPLANE_TRUSTED_PROXIES, the last address in X-Forwarded-For that is not: whatever
    stands before it, the caller may have written.
    """
    address = str(request.META.get("REMOTE_ADDR") or "")
    hops = str(request.META.get(_FORWARDED_FOR) or "").split(",")
    while hops and _is_trusted_proxy(address):
        before = hops.pop().strip()
        if not _is_address(before):
            break
        address = before
    return address[:MAX_SOURCE_ADDRESS]


def request_actor(request: Request | HttpRequest) -> Actor:
    """Who calls: a token (with its user's name), a user, or nobody known."""
    token = getattr(request, "auth", None)
    if not isinstance(token, ApiToken):
        return user_actor(request)
    return Actor(
        ActorKind.TOKEN,
        f"{token.user.get_username()}/{token.name}",
        f"token:{token.pk}",
        *_origin(request),
    )


def user_actor(request: Request | HttpRequest) -> Actor:
    """Who is logged in, or nobody known."""
    # A request that a middleware refuses may have no user yet.
    user = getattr(request, "user", None)
    name, ref = "anonymous", ""
    if isinstance(user, User):
        name, ref = user.get_username(), f"user:{user.pk}"
    return Actor(ActorKind.USER, name, ref, *_origin(request))


def _origin(request: Request | HttpRequest) -> tuple[str, str, str]:
    """Source address, user agent, and for whom the caller says to act."""
    return (
        source_address(request),
        _shown(request.META.get(_USER_AGENT, ""), MAX_USER_AGENT),
        _shown(request.META.get(_ON_BEHALF_OF, ""), MAX_ACTOR_NAME),
    )


def _shown(header: str, length: int) -> str:
    # WSGI hands header bytes over as Latin-1.
    text = header.encode("latin-1", "replace").decode("utf-8", "replace").strip()
    shown = "".join(character for character in text if character.isprintable())
    return redact_text(shown)[:length]


def _is_trusted_proxy(address: str) -> bool:
    if not settings.KVPLANE_TRUSTED_PROXIES or not _is_address(address):
        return False
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in settings.KVPLANE_TRUSTED_PROXIES)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
