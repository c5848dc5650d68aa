"""From tokens to chunk keys.

A chunk's hash depends on every token up to its end, so that equal hashes mean
equal prefixes:

    root    = SHA-256(JSON of [scheme, version, model name, chunk size, cache salt])
    hash(i) = SHA-256(hash(i - 1) || tokens of chunk i as little-endian uint32)

with hash(-1) = root. A chunk with a token outside 0 … 2^32 - 1 is written wide
instead: as little-endian int64, then the byte "w". A wide chunk thus has an odd
number of bytes and never equals a narrow one. Each chunk decides for itself, so
that a prefix has the same keys whatever follows it.

SHA-256 (FIPS 180-4) and not Python's `hash`: keys must be the same in every
process, on every machine and after every restart. 32 bits a token, because they
halve the bytes to hash and Python turns a list into them fastest.
"""

import contextlib
import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.metadata import EngineMetadata

TokenArray = npt.NDArray[np.uint32] | npt.NDArray[np.int64]
"""Little-endian, contiguous, of shape [n]: uint32 where every token fits."""
Tokens = Sequence[int] | npt.NDArray[np.integer]

_SCHEME = "kvplane-chunk"
_VERSION = 2
_NO_SALT = ""
_WIDE = b"w"
_HIGHEST_NARROW = 2**32 - 1
_UINT32_CODE = next(code for code in "IL" if array(code).itemsize == 4)
"""C decides how long an `unsigned int` is."""


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
    """The tokens as an array to cut and to make keys of; no copy where they are one.
    Raises InvalidTokens."""
    # `array` takes bool for int, so a sequence that may be all bool goes the slow way.
    if isinstance(tokens, list | tuple) and tokens and not isinstance(tokens[0], bool):
        with contextlib.suppress(TypeError, OverflowError):
            written = array(_UINT32_CODE, tokens)
            return np.ascontiguousarray(np.frombuffer(written, np.uint32), dtype="<u4")
    integers = _integer_array(tokens)
    if integers.size == 0 or (integers.min() >= 0 and integers.max() <= _HIGHEST_NARROW):
        return np.ascontiguousarray(integers, dtype="<u4")
    return np.ascontiguousarray(integers, dtype="<i8")


def _integer_array(tokens: Tokens) -> npt.NDArray[np.integer]:
    try:
        integers = np.asarray(tokens)
    except (ValueError, OverflowError) as error:
        raise InvalidTokens("Tokens must be one flat sequence of integers.") from error
    if integers.ndim != 1:
        raise InvalidTokens(f"Tokens must have one dimension, not {integers.ndim}.")
    if integers.size == 0:
        return np.empty(0, dtype=np.int64)
    if integers.dtype.kind not in "iu":
        raise InvalidTokens(f"Tokens must be 64-bit integers, not {integers.dtype}.")
    if integers.dtype == np.uint64 and integers.max() > np.iinfo(np.int64).max:
        raise InvalidTokens("A token does not fit a signed 64-bit integer.")
    return integers


def root_hash(model_name: str, chunk_size: int, cache_salt: str = _NO_SALT) -> bytes:
    """The hash that the first chunk's hash builds on, 32 bytes."""
    document = [_SCHEME, _VERSION, model_name, chunk_size, cache_salt]
    canonical = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).digest()


def chunk_hashes(root: bytes, tokens: TokenArray, chunk_size: int) -> list[bytes]:
    """Hashes, 32 bytes each, of all chunks of `tokens`, in order."""
    parent = root
    hashes: list[bytes] = []
    for written in _written_chunks(tokens, chunk_size):
        digest = hashlib.sha256(parent)
        digest.update(written)
        parent = digest.digest()
        hashes.append(parent)
    return hashes


def _written_chunks(tokens: TokenArray, chunk_size: int) -> Iterator[memoryview | bytes]:
    """The bytes that stand for each chunk."""
    if tokens.size and tokens.dtype == np.dtype("<u4"):
        written = tokens.data.cast("B")
        step = chunk_size * tokens.itemsize
        for start in range(0, len(written), step):
            yield written[start : start + step]
        return
    for start in range(0, tokens.size, chunk_size):
        chunk = tokens[start : start + chunk_size]
        if chunk.min() >= 0 and chunk.max() <= _HIGHEST_NARROW:
            yield chunk.astype("<u4").tobytes()
        else:
            yield chunk.astype("<i8").tobytes() + _WIDE
