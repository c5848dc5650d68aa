"""Taking secrets out of what is about to be stored."""

import re
from collections.abc import Mapping

REDACTED = "***"
_SECRET_NAMES = frozenset(
    {"authorization", "cookie", "credential", "credentials", "passphrase", "passwd", "pwd"}
)
_SECRET_ENDINGS = ("password", "secret", "token", "api_key", "apikey", "private_key", "secret_key")
_URL_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s@]*@")
_OWN_TOKEN = re.compile(r"\bkvp[a-z]?_[A-Za-z0-9_-]{16,}")


def redact(value: object) -> object:
    """A copy of a JSON-ready value without secrets.

    Replaced by `***`: values under secret names at any depth, credentials
    inside URLs, and tokens of our own making wherever they stand.
    """
    if isinstance(value, str):
        return _OWN_TOKEN.sub(REDACTED, _URL_CREDENTIALS.sub(rf"\1{REDACTED}@", value))
    if isinstance(value, Mapping):
        return {
            str(redact(str(key))): _hide(item) if _is_secret(str(key)) else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def _hide(value: object) -> object:
    # That a secret was set or cleared is worth knowing; what it was is not.
    return value if value in (None, "") else REDACTED


def _is_secret(name: str) -> bool:
    plain = name.strip().lower().replace("-", "_")
    return plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDINGS)
