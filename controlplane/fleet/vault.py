"""Encrypting the tokens of agents at rest.

Fernet (AES-128-CBC with HMAC-SHA-256) under a key derived from the secret key
with HKDF (RFC 5869), so that a stolen database alone opens no agent.
"""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from engine.contract import ContractError

_PURPOSE = b"kvplane agent token v1"


class UnreadableToken(ContractError):
    """The stored token was encrypted with a secret key that is gone."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "Agent token unreadable",
            "The agent's token was encrypted with another secret key. Restore that key in "
            "KVPLANE_SECRET_KEY_FALLBACKS, or register the agent again.",
        )


def encrypt(plaintext: str) -> str:
    """The token as it is stored."""
    return _cipher(_secret_keys()).encrypt(plaintext.encode()).decode("ascii")


def decrypt(ciphertext: str) -> str:
    """The token in the clear. Raises UnreadableToken."""
    return _decrypt(ciphertext, _secret_keys())


def _secret_keys() -> tuple[str, ...]:
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


# Every forwarded call needs its agent's token; a cache makes that one
# dictionary lookup. It is bounded, and a new token has a new ciphertext.
@lru_cache(maxsize=4096)
def _decrypt(ciphertext: str, keys: tuple[str, ...]) -> str:
    try:
        return _cipher(keys).decrypt(ciphertext.encode("ascii")).decode()
    except InvalidToken:
        raise UnreadableToken from None


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derive(key)) for key in keys])


def _derive(secret_key: str) -> bytes:
    derivation = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_PURPOSE)
    return base64.urlsafe_b64encode(derivation.derive(secret_key.encode()))
