"""Receivers of entries as the settings name them."""

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import urlsplit

_SYSLOG_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
_MIN_SECRET = 24
_BASE64_FOLLOWS = "whsec_"


class BadReceiver(ValueError):
    """A setting cannot be read."""


@dataclass(frozen=True)
class Webhook:
    """Where entries are posted; `timeout_s` in seconds."""

    url: str
    secret: str
    timeout_s: float

    def __repr__(self) -> str:
        return "Webhook(…)"


@dataclass(frozen=True)
class Syslog:
    """Where syslog messages go: `transport` is udp, tcp or tls."""

    transport: str
    host: str
    port: int


def read_webhook(url: str, secret: str, timeout_s: float) -> Webhook | None:
    """None for no URL. Raises BadReceiver."""
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadReceiver("KVPLANE_AUDIT_WEBHOOK_URL must begin with http:// or https://")
    if len(secret) < _MIN_SECRET:
        raise BadReceiver(
            f"KVPLANE_AUDIT_WEBHOOK_SECRET must have at least {_MIN_SECRET} characters: the "
            "receiver knows by it that a call is ours"
        )
    signing_key(secret)
    if timeout_s <= 0:
        raise BadReceiver("KVPLANE_AUDIT_WEBHOOK_TIMEOUT must be above 0")
    return Webhook(url, secret, timeout_s)


def signing_key(secret: str) -> bytes:
    """What calls are signed with. A secret that begins with `whsec_` is base64. Raises
    BadReceiver."""
    if not secret.startswith(_BASE64_FOLLOWS):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_BASE64_FOLLOWS), validate=True)
    except (binascii.Error, ValueError):
        raise BadReceiver(
            "KVPLANE_AUDIT_WEBHOOK_SECRET begins with whsec_, so what follows must be base64"
        ) from None


def read_syslog(address: str) -> Syslog | None:
    """None for no address. Raises BadReceiver."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
        port = parts.port or _SYSLOG_PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise BadReceiver(
            "KVPLANE_AUDIT_SYSLOG must be udp://host:port, tcp://host:port or tls://host:port"
        ) from None
    if not parts.hostname:
        raise BadReceiver("KVPLANE_AUDIT_SYSLOG names no host")
    return Syslog(parts.scheme, parts.hostname, port)
