"""Taking secrets out of what is about to be stored."""

import math
import re
from collections.abc import Mapping

REDACTED = "***"
_LEFT_OUT = "…"
_MAX_DEPTH = 50
_SECRET_NAMES = frozenset(
    {"authorization", "cookie", "credential", "credentials", "passphrase", "passwd", "pwd"}
)
_SECRET_ENDINGS = ("password", "secret", "token", "api_key", "apikey", "private_key", "secret_key")
_URL_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s@]*@")
_OWN_TOKEN = re.compile(r"\bkvp[a-z]?_[A-Za-z0-9_-]{16,}")


def redact(value: object, depth: int = _MAX_DEPTH) -> object:
    """A copy of a JSON-ready value without secrets, fit for any database.

    Replaced by `***`: values under secret names at any depth, credentials
    inside URLs, and tokens of our own making wherever they stand. Characters
    and numbers that a JSON column cannot hold are replaced too, and what is
    nested deeper than `depth` is left out.
    """
    if isinstance(value, str):
        return _redact_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == 0:
        return _LEFT_OUT
    if isinstance(value, Mapping):
        return {
            _redact_text(str(key)): redact_named(str(key), item, depth - 1)
            for key, item in value.items()
        }
    return [redact(item, depth - 1) for item in value]


def redact_named(name: str, value: object, depth: int = _MAX_DEPTH) -> object:
    """`value` redacted, knowing under which name it stands."""
    return _hide(value) if _is_secret(name) else redact(value, depth)


def _redact_text(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if "://" in text:
        text = _URL_CREDENTIALS.sub(rf"\1{REDACTED}@", text)
    return _OWN_TOKEN.sub(REDACTED, text) if "kvp" in text else text


def _hide(value: object) -> object:
    # That a secret was set or cleared is worth knowing; what it was is not.
    return value if value in (None, "") else REDACTED


def _is_secret(name: str) -> bool:
    plain = name.strip().lower().replace("-", "_")
    return plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDINGS)
