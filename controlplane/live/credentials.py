"""Who opens a WebSocket, and whether they still may."""

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, cast
from urllib.parse import urlsplit

from channels.security.websocket import OriginValidator
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from controlplane.accounts.models import User, UserRole
from controlplane.accounts.services import find_usable_token

UNAUTHENTICATED = 4401
FORBIDDEN = 4403


class Refused(Exception):
    """The caller may not watch; `code` closes the WebSocket."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class _SessionToRead(dict[str, Any]):
    """A session as it is stored. A WebSocket cannot give the browser a new cookie, so
    it neither renews nor ends the session."""

    def cycle_key(self) -> None:
        """After a change of SECRET_KEY the next page does this."""

    def flush(self) -> None:
        """Whoever sees it again finds it as invalid as it is."""


def check(headers: Mapping[bytes, bytes]) -> None:
    """Admit API tokens, which no web page can send, and logged-in browsers from pages
    of this server. Raises Refused. Reads the database."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        known = find_usable_token(token.strip())
        if known is None:
            raise Refused(UNAUTHENTICATED, "The API token is unknown, revoked or expired.")
        role = known.access_role
    else:
        role = _role_of_session(headers)
    if not role.includes(UserRole.VIEWER):
        raise Refused(FORBIDDEN, "This needs the role 'viewer'.")


def _role_of_session(headers: Mapping[bytes, bytes]) -> UserRole:
    key = _session_key(headers.get(b"cookie", b"").decode("latin-1"))
    if not key:
        raise Refused(UNAUTHENTICATED, "Log in, or send an API token.")
    if not _is_own_page(headers.get(b"origin", b"").decode("latin-1")):
        raise Refused(FORBIDDEN, "Pages of other origins may not watch.")
    request = HttpRequest()
    stored = import_module(settings.SESSION_ENGINE).SessionStore(key).load()
    request.session = cast(SessionBase, _SessionToRead(stored))
    user = get_user(request)
    if not isinstance(user, User) or not user.is_active:
        raise Refused(UNAUTHENTICATED, "The session has ended; log in again.")
    return user.access_role


def _session_key(cookies: str) -> str:
    try:
        found = SimpleCookie(cookies).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return ""
    # A quoted cookie can hold a NUL, which PostgreSQL refuses to look for.
    return found.value if found is not None and found.value.isprintable() else ""


def _is_own_page(origin: str) -> bool:
    if not origin:
        return False
    try:
        parsed = urlsplit(origin)
    except ValueError:
        return False
    trusted = origin in settings.CSRF_TRUSTED_ORIGINS
    return trusted or bool(OriginValidator(None, settings.ALLOWED_HOSTS).valid_origin(parsed))
