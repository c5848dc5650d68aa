"""Chunks as bytes that outlive the process: the same for a file on disk, an object
on a shared file system and a value in Redis.

    header   4096 bytes, or the next multiple that holds it
    payload  the chunk as KVCacheSpec.chunk_shape has it, or what a serde made of it

The header, little-endian:

    offset  bytes
    0       8   magic "KVPCHUNK"
    8       2   format version, 1
    10      2   reserved, 0
    12      4   length of the whole header
    16      4   length of the description
    20      4   reserved, 0
    24      8   length of the payload
    32      16  XXH3-128 of the payload
    48      16  XXH3-128 of the header with these 16 bytes zero
    64      …   the description: JSON, UTF-8; then zeros

A header of whole pages keeps the payload aligned for direct I/O. XXH3
(https://github.com/Cyan4973/xxHash) finds broken bytes at the speed of memory; it
does not defend against forgery, and neither does a cache directory that others
may write to.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import xxhash

from engine.device import KVCacheSpec
from engine.tokens import ChunkKey

MAGIC = b"KVPCHUNK"
FORMAT_VERSION = 1
HEADER_ALIGNMENT = 4096
MAX_HEADER_BYTES = 1 << 16
_FIXED = struct.Struct("<8sHHIIIQ16s16s")
_CHECKSUM_AT = 48


class CorruptChunk(ValueError):
    """The bytes are not a whole chunk: truncated, broken, or never one."""


class ForeignChunk(ValueError):
    """A whole chunk, but not the one that was asked for: another key, model, layout,
    type or shape."""


@dataclass(frozen=True)
class ChunkLayout:
    """What the chunks of one worker look like, written into every header."""

    namespace: str
    """Model, world size, worker, element type and layout; see engine.tokens."""
    spec: KVCacheSpec

    def description(self, key: ChunkKey, num_tokens: int, serde: str) -> dict[str, object]:
        """The header's JSON for one chunk."""
        return {
            "namespace": key.namespace,
            "chunk_hash": key.chunk_hash.hex(),
            "num_tokens": num_tokens,
            "dtype": str(self.spec.dtype).removeprefix("torch."),
            "shape": list(self.spec.chunk_shape(num_tokens)),
            "serde": serde,
        }

    def chunk_bytes(self, num_tokens: int) -> int:
        """Bytes of a chunk before any serde."""
        return num_tokens * self.spec.bytes_per_token


@dataclass(frozen=True)
class ChunkHeader:
    """A header that was read and holds."""

    key: ChunkKey
    num_tokens: int
    dtype: str
    shape: tuple[int, ...]
    serde: str
    header_bytes: int
    payload_bytes: int
    payload_checksum: bytes

    @property
    def total_bytes(self) -> int:
        return self.header_bytes + self.payload_bytes

    def check_payload(self, payload: memoryview | bytes) -> None:
        """Raise CorruptChunk unless these are the payload's bytes."""
        if len(payload) != self.payload_bytes:
            raise CorruptChunk(
                f"the payload has {len(payload)} bytes instead of {self.payload_bytes}"
            )
        self.check_payload_checksum(xxhash.xxh3_128_digest(payload))

    def check_payload_checksum(self, checksum: bytes) -> None:
        """Raise CorruptChunk unless this is the XXH3-128 of the payload."""
        if checksum != self.payload_checksum:
            raise CorruptChunk("the payload's checksum does not hold")

    def check_layout(self, layout: ChunkLayout) -> None:
        """Raise ForeignChunk unless a worker with this layout can use the chunk."""
        expected = layout.description(self.key, self.num_tokens, self.serde)
        if self.key.namespace != layout.namespace:
            raise ForeignChunk(f"it belongs to {self.key.namespace}, not {layout.namespace}")
        if self.dtype != expected["dtype"] or list(self.shape) != expected["shape"]:
            raise ForeignChunk(
                f"it is {self.dtype} {list(self.shape)}, not "
                f"{expected['dtype']} {expected['shape']}"
            )

    def check_key(self, key: ChunkKey, num_tokens: int) -> None:
        """Raise ForeignChunk unless it is that key's chunk, of so many tokens."""
        if self.key != key or self.num_tokens != num_tokens:
            raise ForeignChunk("it is the chunk of another key")


def make_header(
    layout: ChunkLayout, key: ChunkKey, num_tokens: int, payload: memoryview | bytes, serde: str
) -> bytes:
    """The header for a payload that `serde` made. Raises ValueError for a namespace
    that is too long for a header."""
    description = json.dumps(layout.description(key, num_tokens, serde)).encode()
    length = -(-(_FIXED.size + len(description)) // HEADER_ALIGNMENT) * HEADER_ALIGNMENT
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"A chunk's header holds {MAX_HEADER_BYTES} bytes, not {length}.")
    fixed = _FIXED.pack(
        MAGIC,
        FORMAT_VERSION,
        0,
        length,
        len(description),
        0,
        len(payload),
        xxhash.xxh3_128_digest(payload),
        bytes(16),
    )
    header = bytearray((fixed + description).ljust(length, b"\0"))
    header[_CHECKSUM_AT : _CHECKSUM_AT + 16] = xxhash.xxh3_128_digest(header)
    return bytes(header)


def header_length(start: memoryview | bytes) -> int:
    """The length of the header that begins with these bytes, at least 64 of them.
    Raises CorruptChunk."""
    if len(start) < _FIXED.size:
        raise CorruptChunk(f"it has {len(start)} bytes, which is no header")
    magic, version, _, length, *_ = _FIXED.unpack_from(start)
    if magic != MAGIC:
        raise CorruptChunk("it does not begin like a chunk")
    if version != FORMAT_VERSION:
        raise CorruptChunk(f"it has format version {version}; this is {FORMAT_VERSION}")
    if length % HEADER_ALIGNMENT or not 0 < length <= MAX_HEADER_BYTES:
        raise CorruptChunk(f"its header cannot have {length} bytes")
    return cast(int, length)


def read_header(start: memoryview | bytes) -> ChunkHeader:
    """The header at the beginning of these bytes, which hold at least all of it.
    Raises CorruptChunk."""
    length = header_length(start)
    if len(start) < length:
        raise CorruptChunk(f"it has {len(start)} bytes, its header alone {length}")
    header = bytearray(start[:length])
    *_, description_bytes, _, payload_bytes, payload_checksum, checksum = _FIXED.unpack_from(header)
    header[_CHECKSUM_AT : _CHECKSUM_AT + 16] = bytes(16)
    if xxhash.xxh3_128_digest(header) != checksum:
        raise CorruptChunk("the header's checksum does not hold")
    described = header[_FIXED.size : _FIXED.size + description_bytes]
    try:
        document: Mapping[str, Any] = json.loads(described)
        return ChunkHeader(
            key=ChunkKey(str(document["namespace"]), bytes.fromhex(document["chunk_hash"])),
            num_tokens=int(document["num_tokens"]),
            dtype=str(document["dtype"]),
            shape=tuple(int(length) for length in document["shape"]),
            serde=str(document["serde"]),
            header_bytes=length,
            payload_bytes=payload_bytes,
            payload_checksum=payload_checksum,
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptChunk(f"its description cannot be read: {error!r}") from error
