"""Who may call the agent.

With a token, whoever shows it (RFC 6750). Without one, only callers on this
machine: the agent listens on loopback alone and refuses what a web page in the
operator's browser could send there, by DNS rebinding (a foreign `Host`) or
across sites (a foreign `Origin`, or `Sec-Fetch-Site: cross-site`).
"""

import hmac
import ipaddress
import socket
from typing import Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from engine.config import ConfigError
from engine.contract import ContractError, Unauthorized


class Forbidden(ContractError):
    """The request comes from where no legitimate caller is."""

    def __init__(self, message: str) -> None:
        super().__init__(403, "Forbidden", message)


class Guard(Protocol):
    """Decides whether a request may be answered."""

    def check(self, headers: Headers, *, public: bool) -> None:
        """Return if it may. A public endpoint asks for no token. Raises
        Unauthorized or Forbidden."""


class TokenGuard:
    """Admits whoever shows the bearer token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode("utf-8")

    def check(self, headers: Headers, *, public: bool) -> None:
        if public:
            return
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credentials:
            raise Unauthorized("Send the header 'Authorization: Bearer <agent_token>'.")
        # Starlette reads header bytes as Latin-1, so this gives them back as sent.
        if not hmac.compare_digest(credentials.strip().encode("latin-1"), self._token):
            raise Unauthorized("The bearer token is not this agent's agent_token.")


class LoopbackGuard:
    """Admits callers on this machine that are not a foreign web page."""

    def check(self, headers: Headers, *, public: bool) -> None:
        host = headers.get("host", "")
        if not _is_loopback_authority(host):
            raise Forbidden(
                "Without an agent_token this agent answers only to a loopback name in the "
                "'Host' header, such as 127.0.0.1 or localhost. Use one, or set agent_token."
            )
        origin = headers.get("origin")
        if origin is not None and not _is_loopback_origin(origin):
            raise Forbidden(
                "Without an agent_token this agent answers no page of another site. "
                "Set agent_token and send it as a bearer token."
            )
        if headers.get("sec-fetch-site") == "cross-site":
            raise Forbidden("Without an agent_token this agent answers no page of another site.")


def guard_for(agent_token: str | None) -> Guard:
    """The guard of an agent with that token, or without one."""
    return LoopbackGuard() if agent_token is None else TokenGuard(agent_token)


def check_exposure(host: str, agent_token: str | None) -> None:
    """Refuse to listen beyond this machine without a token. Raises ConfigError."""
    if agent_token is None and not _is_loopback_host(host):
        raise ConfigError(
            f"internal_api_server_host is '{host}', which other machines can reach, but no "
            "agent_token is set. Set agent_token, or listen on 127.0.0.1."
        )


def _is_loopback_host(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM)
    except OSError:
        # Not an address of this machine; binding to it says so in better words.
        return False
    # An empty host means every interface, which getaddrinfo resolves to loopback.
    return bool(host) and all(_is_loopback_address(str(entry[4][0])) for entry in found)


def _is_loopback_address(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_loopback_authority(authority: str) -> bool:
    try:
        name = urlsplit(f"//{authority}").hostname
    except ValueError:
        return False
    if name is None or "@" in authority:
        return False
    return name == "localhost" or _is_loopback_address(name)


def _is_loopback_origin(origin: str) -> bool:
    scheme, separator, authority = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and _is_loopback_authority(authority)
