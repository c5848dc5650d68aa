"""What becomes of a chunk's bytes before they leave the process."""

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
import zstandard

from engine.storage.format import ChunkHeader, CorruptChunk

_ZSTD_LEVEL = 1


class Serde(Protocol):
    """Serialises chunks and reads them back, byte for byte. Thread-safe."""

    name: str

    def encode(self, payload: memoryview) -> memoryview | bytes:
        """The bytes to be stored; `payload` itself where nothing changes."""

    def decode(self, encoded: memoryview | bytes, into: memoryview) -> None:
        """Fill `into`, writable and contiguous, exactly. Raises CorruptChunk where
        `encoded` is not what `encode` made of so many bytes."""


class Naive:
    """Bytes as they are."""

    name = "naive"

    def encode(self, payload: memoryview) -> memoryview:
        return payload

    def decode(self, encoded: memoryview | bytes, into: memoryview) -> None:
        if len(encoded) != len(into):
            raise _wrong_length(len(encoded), len(into))
        # Unlike an assignment to a memoryview, numpy lets other threads run meanwhile.
        np.copyto(np.frombuffer(into, np.uint8), np.frombuffer(encoded, np.uint8))


class Zstd:
    """One Zstandard frame (RFC 8878) of level 1 that states its content's size."""

    name = "zstd"

    def __init__(self) -> None:
        # python-zstandard: a context is for one thread at a time.
        self._contexts = threading.local()

    def encode(self, payload: memoryview) -> bytes:
        compressor: zstandard.ZstdCompressor | None
        compressor = getattr(self._contexts, "compressor", None)
        if compressor is None:
            compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
            self._contexts.compressor = compressor
        return compressor.compress(payload)

    def decode(self, encoded: memoryview | bytes, into: memoryview) -> None:
        decompressor: zstandard.ZstdDecompressor | None
        decompressor = getattr(self._contexts, "decompressor", None)
        if decompressor is None:
            decompressor = zstandard.ZstdDecompressor()
            self._contexts.decompressor = decompressor
        try:
            stated = zstandard.get_frame_parameters(encoded).content_size
            if stated != len(into):
                raise _wrong_length(stated, len(into))
            with decompressor.stream_reader(encoded) as reader:
                filled = 0
                while filled < len(into):
                    read = reader.readinto(into[filled:])
                    if read == 0:
                        raise _wrong_length(filled, len(into))
                    filled += read
                if reader.read(1):
                    raise _wrong_length(len(into) + 1, len(into))
        except zstandard.ZstdError as error:
            raise CorruptChunk(f"it cannot be decompressed: {error}") from error


SERDES: Mapping[str, Serde] = MappingProxyType({serde.name: serde for serde in (Naive(), Zstd())})
"""Serdes by the name that the configuration and a chunk's header give them."""


def decode_payload(header: ChunkHeader, encoded: memoryview | bytes, into: memoryview) -> None:
    """Check a stored payload against its header and put the chunk's bytes into `into`,
    which has exactly their length. Raises CorruptChunk; `into` is then undefined."""
    header.check_payload(encoded)
    serde = SERDES.get(header.serde)
    if serde is None:
        raise CorruptChunk(f"its serde '{header.serde}' is not known here")
    serde.decode(encoded, into)


def _wrong_length(found: int, expected: int) -> CorruptChunk:
    return CorruptChunk(f"it holds {found} bytes instead of {expected}")
