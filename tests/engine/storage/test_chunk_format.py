"""The bytes of a chunk outside the process."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.device import KVCacheSpec
from engine.storage import ChunkLayout
from engine.storage.format import (
    HEADER_ALIGNMENT,
    CorruptChunk,
    ForeignChunk,
    header_length,
    make_header,
    read_header,
)
from engine.tokens import ChunkKey

SPEC = KVCacheSpec(2, 1, 8, torch.bfloat16, 4, 8, use_mla=False)
LAYOUT = ChunkLayout("model@1@0@bfloat16@KV_2LTD", SPEC)
KEY = ChunkKey(LAYOUT.namespace, bytes(range(32)))
PAYLOAD = bytes(range(256)) * 2
HEADER = make_header(LAYOUT, KEY, 8, PAYLOAD, "naive")


def test_header__read_back__says_what_was_written() -> None:
    header = read_header(HEADER)
    assert (header.key, header.num_tokens, header.serde) == (KEY, 8, "naive")
    assert (header.dtype, header.shape) == ("bfloat16", SPEC.chunk_shape(8))
    assert header.header_bytes == len(HEADER) == HEADER_ALIGNMENT
    assert header.total_bytes == len(HEADER) + len(PAYLOAD)
    header.check_payload(PAYLOAD)
    header.check_layout(LAYOUT)
    header.check_key(KEY, 8)


def test_header__documented_offsets__hold() -> None:
    assert HEADER[:8] == b"KVPCHUNK"
    assert int.from_bytes(HEADER[8:10], "little") == 1
    assert int.from_bytes(HEADER[12:16], "little") == len(HEADER)
    assert int.from_bytes(HEADER[24:32], "little") == len(PAYLOAD)


@given(position=st.integers(0, len(HEADER) - 1), bit=st.integers(0, 7))
def test_header__any_bit_flipped__is_found(position: int, bit: int) -> None:
    broken = bytearray(HEADER)
    broken[position] ^= 1 << bit
    with pytest.raises(CorruptChunk):
        read_header(broken)


@given(length=st.integers(0, len(HEADER) - 1))
def test_header__cut_short__is_found(length: int) -> None:
    with pytest.raises(CorruptChunk):
        read_header(HEADER[:length])


@given(noise=st.binary(max_size=5000))
def test_header__any_bytes__are_no_chunk(noise: bytes) -> None:
    with pytest.raises(CorruptChunk):
        header_length(noise)


@given(position=st.integers(0, len(PAYLOAD) - 1), bit=st.integers(0, 7))
def test_payload__any_bit_flipped__is_found(position: int, bit: int) -> None:
    broken = bytearray(PAYLOAD)
    broken[position] ^= 1 << bit
    with pytest.raises(CorruptChunk):
        read_header(HEADER).check_payload(bytes(broken))


@pytest.mark.parametrize(
    "other",
    [
        ChunkLayout("other@1@0@bfloat16@KV_2LTD", SPEC),
        ChunkLayout(LAYOUT.namespace, KVCacheSpec(2, 1, 8, torch.float16, 4, 8, use_mla=False)),
        ChunkLayout(LAYOUT.namespace, KVCacheSpec(3, 1, 8, torch.bfloat16, 4, 8, use_mla=False)),
        ChunkLayout(LAYOUT.namespace, KVCacheSpec(4, 1, 8, torch.bfloat16, 4, 8, use_mla=True)),
    ],
)
def test_layout__another__is_foreign(other: ChunkLayout) -> None:
    with pytest.raises(ForeignChunk):
        read_header(HEADER).check_layout(other)


def test_key__another_or_other_length__is_foreign() -> None:
    header = read_header(HEADER)
    for key, num_tokens in ((ChunkKey(LAYOUT.namespace, bytes(32)), 8), (KEY, 7)):
        with pytest.raises(ForeignChunk):
            header.check_key(key, num_tokens)


def test_header__long_namespace__grows_by_pages_and_has_an_end() -> None:
    long = ChunkLayout("m" * 5000, SPEC)
    header = make_header(long, ChunkKey(long.namespace, KEY.chunk_hash), 8, PAYLOAD, "zstd")
    assert len(header) == 2 * HEADER_ALIGNMENT
    assert read_header(header).key.namespace == long.namespace
    longer = ChunkLayout("m" * 70_000, SPEC)
    with pytest.raises(ValueError, match="header"):
        make_header(longer, ChunkKey(longer.namespace, KEY.chunk_hash), 8, PAYLOAD, "zstd")
