"""Keys of the audit log, in files outside of the database.

    hmac-<id>.key      makes and checks the chain; as many as there were rotations
    signing.pem        Ed25519 (RFC 8032), signs heads and archives
    signing-<id>.pub   its public part, all that a verifier of heads needs

Several hosts that write one log share this directory.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from django.conf import settings
from django.db import DatabaseError

from controlplane.keyfile import read_or_create, read_or_write

_MIN_KEY = 32
"""Characters; less is a file that was damaged, or a key that can be guessed."""
_KEY_ID = re.compile(r"k[1-9][0-9]{0,8}", re.ASCII)


class KeyUnavailable(DatabaseError):
    """A key of the log cannot be read. To whoever writes an entry this is a log that
    cannot be written, as with any other DatabaseError."""


class KeyRing:
    """The keys in one directory. A key that is missing is never made anew: entries would
    be authenticated with it that nobody could tell from forged ones."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hmac_keys: dict[str, bytes] = {}
        self._public: dict[str, Ed25519PublicKey] = {}

    @property
    def directory(self) -> Path:
        """Where the keys lie."""
        return self._directory

    def hmac_key(self, key_id: str) -> bytes:
        """The key of that id. Raises KeyUnavailable."""
        key = self._hmac_keys.get(key_id)
        if key is None:
            key = self._hmac_keys[key_id] = self._read_hmac_key(key_id)
        return key

    def make_hmac_key(self, key_id: str) -> None:
        """Make sure that there is a key of that id: for the first entry, and for a
        rotation. Raises KeyUnavailable."""
        try:
            read_or_create(self._hmac_path(key_id))
        except OSError as error:
            raise KeyUnavailable(f"key {key_id} cannot be made: {error}") from error

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes. Raises KeyUnavailable."""
        return self._signing_key().sign(data)

    def signing_key_id(self) -> str:
        """The id of the key that sign() uses. Raises KeyUnavailable."""
        return _id_of(self._signing_key().public_key())

    def is_signed(self, data: bytes, signature: bytes, key_id: str) -> bool:
        """Whether the signature is that key's. Raises KeyUnavailable for a key whose
        public part is not here."""
        public = self._public.get(key_id)
        if public is None:
            public = self._public[key_id] = self._read_public_key(key_id)
        try:
            public.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def _read_hmac_key(self, key_id: str) -> bytes:
        path = self._hmac_path(key_id)
        try:
            text = path.read_text().strip()
        except OSError as error:
            raise KeyUnavailable(f"key {key_id} of the audit log: {error}") from error
        if len(text) < _MIN_KEY:
            raise KeyUnavailable(f"key {key_id} of the audit log: {path.name} holds no key")
        return hashlib.sha256(text.encode()).digest()

    def _hmac_path(self, key_id: str) -> Path:
        if not _KEY_ID.fullmatch(key_id):
            raise KeyUnavailable(f"{key_id[:40]!r} is not the id of a key")
        return self._directory / f"hmac-{key_id}.key"

    def _signing_key(self) -> Ed25519PrivateKey:
        path = self._directory / "signing.pem"
        try:
            text = read_or_write(path, _new_signing_key)
            key = load_pem_private_key(text.encode(), password=None)
        except (OSError, ValueError) as error:
            raise KeyUnavailable(f"the signing key of the audit log: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnavailable(f"{path.name} is not an Ed25519 key")
        self._publish(key.public_key())
        return key

    def _publish(self, public: Ed25519PublicKey) -> None:
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        try:
            read_or_write(self._public_path(_id_of(public)), lambda: pem)
        except OSError as error:
            raise KeyUnavailable(f"the public key of the audit log: {error}") from error

    def _read_public_key(self, key_id: str) -> Ed25519PublicKey:
        if not re.fullmatch(r"[0-9a-f]{16}", key_id):
            raise KeyUnavailable(f"{key_id[:40]!r} is not the id of a signing key")
        try:
            public = load_pem_public_key(self._public_path(key_id).read_bytes())
        except (OSError, ValueError) as error:
            raise KeyUnavailable(f"public key {key_id} of the audit log: {error}") from error
        if not isinstance(public, Ed25519PublicKey) or _id_of(public) != key_id:
            raise KeyUnavailable(f"the file of public key {key_id} holds another key")
        return public

    def _public_path(self, key_id: str) -> Path:
        return self._directory / f"signing-{key_id}.pub"


def key_ring() -> KeyRing:
    """The keys of this installation."""
    return _ring(str(settings.KVPLANE_AUDIT_KEYS_DIR))


@lru_cache(maxsize=4)
def _ring(directory: str) -> KeyRing:
    return KeyRing(Path(directory))


def _new_signing_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _id_of(public: Ed25519PublicKey) -> str:
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
