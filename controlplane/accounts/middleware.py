"""Sessions, logins and messages, for those who have a use for them: browsers.

A call with an API token is answered by the token alone: BearerAuthentication
takes it or refuses it, and no session is looked at after that. So these
middlewares stand aside for such a call, except at the pages that know sessions
only. The CSRF check stands aside for nobody.
"""

from collections.abc import Awaitable

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from controlplane.accounts.authentication import sends_token

_SESSIONS_ONLY = ("/admin/", "/api/auth/", "/dashboard/")


class _ForBrowsers(MiddlewareMixin):
    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if sends_token(request) and not request.path_info.startswith(_SESSIONS_ONLY):
            return self.get_response(request)
        return super().__call__(request)


class BrowserSessionMiddleware(_ForBrowsers, SessionMiddleware):
    """`request.session`, unless an API token does without."""


class BrowserLoginMiddleware(_ForBrowsers, AuthenticationMiddleware):
    """`request.user`, unless an API token says who calls."""


class BrowserMessageMiddleware(_ForBrowsers, MessageMiddleware):
    """Messages kept for the next page, unless an API token calls, which sees no page."""
