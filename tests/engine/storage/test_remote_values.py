"""Values in a remote medium that are corrupt, foreign, or gone meanwhile: never served."""

from collections.abc import Callable

import pytest
import redis
import torch

from engine.storage.breaker import BreakerState
from engine.storage.connectors import namespace_digest
from engine.storage.format import ChunkLayout, make_header
from engine.storage.payload import payload_of
from engine.storage.tally import Fault
from engine.tokens import ChunkKey
from tests.support.redis_server import RedisServer
from tests.support.remote import TOKENS, backend, chunk, key, layout, load, same_bytes, store

from .mediums import Medium, faults


def truncated(value: bytes) -> bytes:
    return value[:-7]


def without_payload(value: bytes) -> bytes:
    return value[:4096]


def half_a_header(value: bytes) -> bytes:
    return value[:100]


def nothing(value: bytes) -> bytes:
    return b""


def longer(value: bytes) -> bytes:
    return value + b"\0"


def flipped_in_the_payload(value: bytes) -> bytes:
    return value[:4200] + bytes([value[4200] ^ 1]) + value[4201:]


def flipped_in_the_header(value: bytes) -> bytes:
    return value[:100] + bytes([value[100] ^ 1]) + value[101:]


def rubbish(value: bytes) -> bytes:
    return b"\xff" * len(value)


@pytest.mark.parametrize("serde", ["naive", "zstd"])
@pytest.mark.parametrize(
    "spoil",
    [
        truncated,
        without_payload,
        half_a_header,
        nothing,
        longer,
        flipped_in_the_payload,
        flipped_in_the_header,
        rubbish,
    ],
)
def test_load__corrupt_value__ends_there_and_can_be_written_anew(
    medium: Medium, serde: str, spoil: Callable[[bytes], bytes]
) -> None:
    of = layout()
    with backend(medium.url, of, serde=serde) as remote:
        store(remote, of, [1, 2, 3])
        good = medium.read(of, 2)
        medium.write(of, 2, spoil(good))
        assert len(load(remote, of, [1, 2, 3])) == 1
        assert faults(remote) == {Fault.CORRUPT: 1}
        assert remote.contains([key(of, 2)]) == [False]
        store(remote, of, [2])
        assert medium.read(of, 2) == good
        assert same_bytes(load(remote, of, [1, 2, 3])[1], chunk(of, 2))
        assert remote.state().breaker is BreakerState.CLOSED


def as_value(of: ChunkLayout, its_key: ChunkKey, number: int) -> bytes:
    payload = payload_of(chunk(of, number))
    return make_header(of, its_key, TOKENS, payload, "naive") + bytes(payload)


def test_load__foreign_value__ends_there_and_is_removed(medium: Medium) -> None:
    of = layout()
    other_type = ChunkLayout(of.namespace, layout(torch.float16).spec)
    other_shape = ChunkLayout(of.namespace, layout(heads=4).spec)
    stranger = layout()
    with backend(medium.url, of) as remote:
        for times, value in enumerate(
            [
                as_value(of, key(of, 7), 7),
                as_value(other_type, key(of, 1), 1),
                as_value(other_shape, key(of, 1), 1),
                as_value(stranger, key(stranger, 1), 1),
            ],
            start=1,
        ):
            medium.write(of, 1, value)
            assert load(remote, of, [1]) == []
            assert faults(remote) == {Fault.FOREIGN: times}
            assert medium.read(of, 1) == b""
        assert remote.state().breaker is BreakerState.CLOSED


def test_load__key_of_another_redis_type__is_corrupt_and_removed(
    servers: dict[str, RedisServer],
) -> None:
    of = layout()
    name = f"kvplane:{namespace_digest(of.namespace)}:{key(of, 1).chunk_hash.hex()}"
    with (
        servers["redis"].client() as client,
        backend(f"redis://{servers['redis'].address}", of) as remote,
    ):
        client.rpush(name, "a", "list")
        assert remote.contains([key(of, 1)]) == [True]
        assert load(remote, of, [1]) == []
        assert faults(remote) == {Fault.CORRUPT: 1}
        assert client.exists(name) == 0


def test_redis_loses_a_chunk_between_contains_and_load__load__ends_without_a_fault(
    servers: dict[str, RedisServer],
) -> None:
    of = layout()
    server = servers["redis"]
    with backend(f"redis://{server.address}", of) as remote:
        store(remote, of, [1, 2])
        assert remote.contains([key(of, 1), key(of, 2)]) == [True, True]
        with redis.Redis(port=server.port) as client:
            client.delete(f"kvplane:{namespace_digest(of.namespace)}:{key(of, 2).chunk_hash.hex()}")
        assert len(load(remote, of, [1, 2])) == 1
        assert faults(remote) == {}
