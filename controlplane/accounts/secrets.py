"""Making tokens and finding them again by their digest.

A token is 256 random bits, so a plain SHA-256 is enough: there is nothing to
guess, and a lookup by digest compares no secret byte by byte.
"""

import hashlib
import secrets
from dataclasses import dataclass

API_TOKEN_PREFIX = "kvp_"  # noqa: S105 - how every token begins, not a token
ENROLMENT_TOKEN_PREFIX = "kvpe_"  # noqa: S105 - how every token begins, not a token
_SHOWN = 6


@dataclass(frozen=True)
class NewSecret:
    """A token as it is shown once, and what is kept of it."""

    plaintext: str
    prefix: str
    digest: str

    def __repr__(self) -> str:
        return f"NewSecret(prefix={self.prefix!r})"


def make_secret(prefix: str) -> NewSecret:
    """A new token of 256 random bits that begins with `prefix`."""
    plaintext = prefix + secrets.token_urlsafe(32)
    return NewSecret(plaintext, plaintext[: len(prefix) + _SHOWN], digest_of(plaintext))


def digest_of(plaintext: str) -> str:
    """The SHA-256 of the token's UTF-8 bytes, 64 hexadecimal digits."""
    return hashlib.sha256(plaintext.encode()).hexdigest()
