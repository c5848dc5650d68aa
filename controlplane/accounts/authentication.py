"""Bearer authentication with API tokens."""

import logging

from django.db import DatabaseError
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from controlplane.accounts import services
from controlplane.accounts.models import ApiToken, User

logger = logging.getLogger(__name__)


_HEADER = "HTTP_AUTHORIZATION"


def sends_token(request: Request | HttpRequest) -> bool:
    """Whether the call comes with a bearer token, good or bad."""
    header: str = request.META.get(_HEADER, "")
    return header.partition(" ")[0].lower() == "bearer"


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer kvp_…`, checked with one query."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """User and token; None if the header is absent, so that a session may
        do. Raises AuthenticationFailed for a token that is not good."""
        if not sends_token(request):
            return None
        plaintext = request.META[_HEADER].partition(" ")[2].strip()
        token = services.find_usable_token(plaintext)
        if token is None:
            raise AuthenticationFailed(
                "The API token is unknown, revoked or expired; create a new one."
            )
        try:
            services.note_use(token)
        except DatabaseError:
            logger.warning("could not note the use of API token %s", token.pk)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """The challenge that goes with a 401 (RFC 6750)."""
        return 'Bearer realm="kvplane"'
