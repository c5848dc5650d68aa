"""From tokens to chunk keys.

A chunk's hash depends on every token up to its end, so that equal hashes mean
equal prefixes:

    root    = SHA-256(JSON of [scheme, version, model name, chunk size, cache salt])
    hash(i) = SHA-256(hash(i - 1) || tokens of chunk i as little-endian int64)

with hash(-1) = root. SHA-256 (FIPS 180-4) and not Python's `hash`: keys must be
the same in every process, on every machine and after every restart.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.metadata import EngineMetadata

TokenArray = npt.NDArray[np.int64]
Tokens = Sequence[int] | npt.NDArray[np.integer]

_SCHEME = "kvplane-chunk"
_VERSION = 1
_NO_SALT = ""


class InvalidTokens(ValueError):
    """The tokens are not a flat sequence of integers that fit 64 bits."""


class ChunkKey(NamedTuple):
    """Names the KV of one chunk of one worker.

    `namespace` tells apart whose KV it is, `chunk_hash` (32 bytes) which tokens
    it stands for.
    """

    namespace: str
    chunk_hash: bytes


class ChunkKeyMaker:
    """Makes the chunk keys of one worker."""

    def __init__(self, metadata: EngineMetadata) -> None:
        self._namespace = namespace(metadata)
        self._model_name = metadata.model_name
        self._chunk_size = metadata.chunk_size

    def make(self, tokens: TokenArray, cache_salt: str = _NO_SALT) -> list[ChunkKey]:
        """Keys of all chunks of `tokens`, in order; the last chunk may have fewer
        than chunk_size tokens. Different salts never share a key."""
        root = root_hash(self._model_name, self._chunk_size, cache_salt)
        return [
            ChunkKey(self._namespace, digest)
            for digest in chunk_hashes(root, tokens, self._chunk_size)
        ]


def namespace(metadata: EngineMetadata) -> str:
    """Whose KV a key names: model@world_size@worker_id@kv_dtype@fmt."""
    return "@".join(
        str(part)
        for part in (
            metadata.model_name,
            metadata.world_size,
            metadata.worker_id,
            metadata.kv_dtype,
            metadata.fmt,
        )
    )


def as_token_array(tokens: Tokens) -> TokenArray:
    """The tokens as a contiguous little-endian int64 array of shape [n]; no copy
    where they are one. Raises InvalidTokens."""
    try:
        array = np.asarray(tokens)
    except (ValueError, OverflowError) as error:
        raise InvalidTokens("Tokens must be one flat sequence of integers.") from error
    if array.ndim != 1:
        raise InvalidTokens(f"Tokens must have one dimension, not {array.ndim}.")
    if array.size == 0:
        return np.empty(0, dtype="<i8")
    if array.dtype.kind not in "iu":
        raise InvalidTokens(f"Tokens must be 64-bit integers, not {array.dtype}.")
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise InvalidTokens("A token does not fit a signed 64-bit integer.")
    return np.ascontiguousarray(array, dtype="<i8")


def root_hash(model_name: str, chunk_size: int, cache_salt: str = _NO_SALT) -> bytes:
    """The hash that the first chunk's hash builds on, 32 bytes."""
    document = [_SCHEME, _VERSION, model_name, chunk_size, cache_salt]
    canonical = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).digest()


def chunk_hashes(root: bytes, tokens: TokenArray, chunk_size: int) -> list[bytes]:
    """Hashes, 32 bytes each, of all chunks of `tokens`, in order."""
    written = tokens.data.cast("B") if tokens.size else memoryview(b"")
    step = chunk_size * tokens.itemsize
    parent = root
    hashes: list[bytes] = []
    for start in range(0, len(written), step):
        digest = hashlib.sha256(parent)
        digest.update(written[start : start + step])
        parent = digest.digest()
        hashes.append(parent)
    return hashes
