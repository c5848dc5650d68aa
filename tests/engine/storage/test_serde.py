import threading

import pytest
import torch
import zstandard

from engine.storage.format import CorruptChunk, make_header, read_header
from engine.storage.payload import payload_of
from engine.storage.serde import SERDES, decode_payload
from tests.support.remote import TOKENS, chunk, key, layout, same_bytes

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.uint8]


@pytest.mark.parametrize("name", ["naive", "zstd"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_decode__what_was_encoded__is_equal_byte_for_byte(name: str, dtype: torch.dtype) -> None:
    stored = chunk(layout(dtype), 1)
    into = torch.zeros_like(stored)
    SERDES[name].decode(SERDES[name].encode(payload_of(stored)), payload_of(into))
    assert same_bytes(stored, into)


def test_naive__encode__makes_no_copy() -> None:
    payload = payload_of(chunk(layout(), 1))
    assert SERDES["naive"].encode(payload) is payload


def test_zstd__encode__compresses() -> None:
    payload = payload_of(torch.zeros(100_000, dtype=torch.uint8))
    assert len(SERDES["zstd"].encode(payload)) < 1000


@pytest.mark.parametrize("name", ["naive", "zstd"])
@pytest.mark.parametrize("length", [0, 1, 999, 1001, 5000])
def test_decode__another_length__is_corrupt(name: str, length: int) -> None:
    encoded = SERDES[name].encode(memoryview(bytes(1000)))
    with pytest.raises(CorruptChunk):
        SERDES[name].decode(encoded, memoryview(bytearray(length)))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"not a frame at all",
        zstandard.ZstdCompressor().compress(b"\1" * 1000)[:-5],
        # A frame that does not state its size could be a bomb.
        zstandard.ZstdCompressor(write_content_size=False).compress(b"\1" * 1000),
        zstandard.ZstdCompressor().compress(bytes(1 << 26)),
    ],
    ids=["empty", "rubbish", "truncated", "unstated", "bomb"],
)
def test_zstd__what_is_no_frame_of_that_size__is_corrupt(encoded: bytes) -> None:
    with pytest.raises(CorruptChunk):
        SERDES["zstd"].decode(encoded, memoryview(bytearray(1000)))


def test_zstd__frame_that_lies_about_its_size__is_corrupt() -> None:
    encoded = bytearray(zstandard.ZstdCompressor().compress(b"\1" * 1000))
    stated = encoded.index((1000 - 256).to_bytes(2, "little"))
    encoded[stated : stated + 2] = (900 - 256).to_bytes(2, "little")
    assert zstandard.get_frame_parameters(bytes(encoded)).content_size == 900
    with pytest.raises(CorruptChunk):
        SERDES["zstd"].decode(bytes(encoded), memoryview(bytearray(900)))


def test_zstd__many_threads__share_no_context() -> None:
    serde = SERDES["zstd"]
    failures: list[int] = []

    def work(seed: int) -> None:
        stored = chunk(layout(), seed)
        for _ in range(50):
            into = torch.zeros_like(stored)
            serde.decode(serde.encode(payload_of(stored)), payload_of(into))
            if not same_bytes(stored, into):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_decode_payload__flipped_bit__is_corrupt() -> None:
    of = layout()
    payload = payload_of(chunk(of, 1))
    header = read_header(make_header(of, key(of, 1), TOKENS, payload, "naive"))
    broken = bytearray(payload)
    broken[17] ^= 4
    with pytest.raises(CorruptChunk, match="checksum"):
        decode_payload(header, bytes(broken), memoryview(bytearray(len(payload))))


def test_decode_payload__unknown_serde__is_corrupt() -> None:
    of = layout()
    payload = payload_of(chunk(of, 1))
    header = read_header(make_header(of, key(of, 1), TOKENS, payload, "cachegen"))
    with pytest.raises(CorruptChunk, match="'cachegen'"):
        decode_payload(header, payload, memoryview(bytearray(len(payload))))
