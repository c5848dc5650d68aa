"""Encrypting at rest what opens agents: their tokens, secrets of their configuration.

Fernet (AES-128-CBC with HMAC-SHA-256) under keys derived from the secret key
with HKDF (RFC 5869), one for each purpose, so that a stolen database alone opens
no agent.
"""

import base64
import json
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import cast

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from engine.contract import ContractError


class Purpose(Enum):
    """What is encrypted; what was encrypted for one purpose opens for no other."""

    AGENT_TOKEN = b"kvplane agent token v1"
    CONFIG_VALUES = b"kvplane config values v1"


class UnreadableSecret(ContractError):
    """Secrets of a configuration were encrypted with a secret key that is gone."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "Secrets unreadable",
            "Secret values of the configuration were encrypted with another secret key. Restore "
            "that key in KVPLANE_SECRET_KEY_FALLBACKS, or set those values anew.",
        )


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
    return _encrypt(plaintext, Purpose.AGENT_TOKEN)


def decrypt(ciphertext: str) -> str:
    """The token in the clear. Raises UnreadableToken."""
    try:
        return _decrypt(ciphertext, Purpose.AGENT_TOKEN, _secret_keys())
    except InvalidToken:
        raise UnreadableToken from None


def seal(document: Mapping[str, object]) -> str:
    """JSON-ready values as they are stored; "" for none."""
    return _encrypt(json.dumps(document), Purpose.CONFIG_VALUES) if document else ""


def unseal(ciphertext: str) -> dict[str, object]:
    """What seal() was given. Raises UnreadableSecret."""
    if not ciphertext:
        return {}
    try:
        document = json.loads(_decrypt(ciphertext, Purpose.CONFIG_VALUES, _secret_keys()))
    except InvalidToken:
        raise UnreadableSecret from None
    return cast(dict[str, object], document)


def _encrypt(plaintext: str, purpose: Purpose) -> str:
    return _cipher(purpose, _secret_keys()).encrypt(plaintext.encode()).decode("ascii")


def _secret_keys() -> tuple[str, ...]:
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


# Every forwarded call needs its agent's token; a cache makes that one
# dictionary lookup. It is bounded, and a new token has a new ciphertext.
@lru_cache(maxsize=4096)
def _decrypt(ciphertext: str, purpose: Purpose, keys: tuple[str, ...]) -> str:
    return _cipher(purpose, keys).decrypt(ciphertext.encode("ascii")).decode()


@lru_cache(maxsize=8)
def _cipher(purpose: Purpose, keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derive(key, purpose)) for key in keys])


def _derive(secret_key: str, purpose: Purpose) -> bytes:
    derivation = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose.value)
    return base64.urlsafe_b64encode(derivation.derive(secret_key.encode()))
