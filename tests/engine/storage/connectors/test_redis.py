import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from engine.storage.connectors import (
    Connector,
    ConnectorContext,
    ConnectorError,
    ConnectorRefusal,
    ConnectorTimeout,
    EncodedChunk,
    InvalidRemoteURL,
    namespace_digest,
    open_connector,
)
from engine.storage.format import ChunkLayout, make_header
from engine.storage.payload import payload_of
from tests.support.redis_server import (
    Certificates,
    RedisServer,
    make_certificates,
    running_cluster,
    running_redis,
)
from tests.support.remote import TOKENS, answering, chunk, connector, key, layout
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["server", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    running: RedisServer = request.getfixturevalue(request.param)
    return f"redis{'+cluster' if request.param == 'cluster' else ''}://{running.address}"


def encoded(of: ChunkLayout, number: int) -> EncodedChunk:
    payload = payload_of(chunk(of, number))
    return EncodedChunk(make_header(of, key(of, number), TOKENS, payload, "naive"), payload)


def name_of(of: ChunkLayout, number: int) -> str:
    return f"kvplane:{namespace_digest(of.namespace)}:{key(of, number).chunk_hash.hex()}"


def round_trip(shared: Connector, of: ChunkLayout) -> None:
    chunks = {key(of, number): encoded(of, number) for number in (1, 2, 4)}
    shared.ping()
    shared.put(chunks)
    keys = [key(of, number) for number in (1, 2, 3, 4)]
    assert shared.contains(keys) == 2
    assert [(each.header, each.payload) for each in shared.get(keys)] == [
        (bytes(chunks[k].header), bytes(chunks[k].payload)) for k in keys[:2]
    ]
    shared.delete([key(of, 1), key(of, 9)])
    assert shared.contains(keys) == 0
    assert sum(shared.clear()) == 2
    assert shared.get([key(of, 4)]) == []


def answers(shared: Connector) -> bool:
    try:
        shared.ping()
    except ConnectorError:
        return False
    return True


def test_connector__server_and_cluster__store_and_find(url: str) -> None:
    of = layout()
    shared = connector(url, of)
    round_trip(shared, of)
    shared.close()


def test_connector__no_keys__asks_nothing(url: str) -> None:
    shared = connector(url, layout())
    assert shared.contains([]) == 0
    assert shared.get([]) == []
    shared.put({})
    shared.delete([])


def test_put__chunk__is_a_hash_under_the_documented_key(server: RedisServer) -> None:
    of = layout()
    shared = connector(f"redis://{server.address}/3", of)
    shared.put({key(of, 1): encoded(of, 1)})
    with server.client() as client:
        client.select(3)
        stored = client.hgetall(name_of(of, 1))
    assert stored == {
        b"header": bytes(encoded(of, 1).header),
        b"payload": bytes(encoded(of, 1).payload),
    }
    shared.close()


def test_clear__many_chunks__counts_them_and_spares_other_keys(url: str) -> None:
    mine, other = layout(), layout()
    shared, others = connector(url, mine), connector(url, other)
    for start in range(0, 2500, 500):
        shared.put({key(mine, n): EncodedChunk(b"h", b"p") for n in range(start, start + 500)})
    others.put({key(other, 1): encoded(other, 1)})
    assert sum(shared.clear()) == 2500
    assert sum(shared.clear()) == 0
    assert others.contains([key(other, 1)]) == 1
    shared.close()
    others.close()


def test_contains__many_keys__is_one_round_trip(server: RedisServer) -> None:
    of = layout()
    shared = connector(f"redis://{server.address}", of)
    shared.ping()
    with server.client() as client:
        before = client.info("stats")["total_reads_processed"]
        shared.contains([key(of, number) for number in range(20)])
        # One read for the 20 commands, one for this INFO.
        assert client.info("stats")["total_reads_processed"] - before <= 2
    shared.close()


def test_get__key_of_another_type__is_a_chunk_without_bytes(url: str) -> None:
    of = layout()
    shared = connector(url, of)
    shared.ping()
    with redis.Redis(port=int(url.rpartition(":")[2])) as client:
        client.set(name_of(of, 1), "a string")
        client.hset(name_of(of, 2), "header", "without a payload")
    assert shared.get([key(of, 1), key(of, 2)]) == [
        EncodedChunk(b"", b""),
        EncodedChunk(b"without a payload", b""),
    ]
    shared.delete([key(of, 1)])
    assert shared.get([key(of, 1)]) == []
    shared.close()


def test_put__server_is_full__is_a_refusal_and_reads_go_on(tmp_path: Path) -> None:
    of = layout()
    with running_redis(tmp_path, ["--maxmemory-policy", "noeviction"]) as full:
        shared = connector(f"redis://{full.address}", of)
        shared.put({key(of, 1): encoded(of, 1)})
        with full.client() as client:
            client.config_set("maxmemory", "1mb")
        with pytest.raises(ConnectorRefusal):
            shared.put({key(of, 2): EncodedChunk(b"h", bytes(1 << 20))})
        assert shared.contains([key(of, 1)]) == 1
        shared.close()


def test_url__user_password_and_database__are_used(tmp_path: Path) -> None:
    of = layout()
    password = "p@ss/w:rd?#%"
    with running_redis(tmp_path) as server:
        with server.client() as client:
            client.acl_setuser(
                "kv",
                enabled=True,
                passwords=[f"+{password}"],
                keys=["kvplane:*"],
                commands=["+@all"],
            )
            client.acl_setuser("default", enabled=False)
        shared = connector(f"redis://kv:{quote(password, safe='')}@{server.address}/2", of)
        round_trip(shared, of)
        shared.close()
        for credentials in ("kv:wrong@", ""):
            refused = connector(f"redis://{credentials}{server.address}", of)
            with pytest.raises(ConnectorError) as caught:
                refused.contains([key(of, 1)])
            assert not isinstance(caught.value, ConnectorTimeout)
            refused.close()


def test_tls__certificate_of_a_known_authority__is_accepted(
    tmp_path: Path, certificates: Certificates
) -> None:
    of = layout()
    with running_redis(tmp_path, tls=[certificates]) as server:
        for host in ("127.0.0.1", "localhost"):
            shared = connector(
                f"rediss://{host}:{server.port}?ssl_ca_certs={certificates.authority}", of
            )
            round_trip(shared, of)
            shared.close()


def test_tls__unknown_authority__is_refused(tmp_path: Path, certificates: Certificates) -> None:
    of = layout()
    with running_redis(tmp_path, tls=[certificates]) as server:
        shared = connector(f"rediss://{server.address}", of)
        with pytest.raises(ConnectorError, match="CERTIFICATE_VERIFY_FAILED"):
            shared.ping()
        shared.close()


def test_tls__cluster__stores_and_finds(tmp_path: Path, certificates: Certificates) -> None:
    of = layout()
    with running_cluster(tmp_path, tls=[certificates]) as node:
        url = f"rediss+cluster://{node.address}?ssl_ca_certs={certificates.authority}"
        shared = connector(url, of)
        round_trip(shared, of)
        shared.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@",
        "redis://u:hunter2@host:port",
        "redis://u:hun@ter2:x@host:66:77",
        "redis://u:hunter2@[::1",
        "redis://u:hunter2@host/zero",
        "redis://u:hunter2@host/1/2",
        "redis://u:hunter2@host?decode_responses=true",
        "redis://u:hunter2@host?socket_timeout=1",
        "redis://u:hunter2@host?db=hunter2",
        "redis://u:hunter2@host?ssl_ca_certs=/x",
        "rediss://u:hunter2@host?ssl_cert_reqs=maybe",
        "redis+cluster://u:hunter2@host/1",
    ],
)
def test_url__not_understood__is_refused_without_the_password(url: str) -> None:
    with pytest.raises(InvalidRemoteURL) as caught:
        connector(url, layout())
    assert "hunter2" not in str(caught.value)
    assert "ter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def calls(shared: Connector, of: ChunkLayout) -> Iterator[Callable[[], object]]:
    yield lambda: shared.contains([key(of, 1)])
    yield lambda: shared.get([key(of, 1), key(of, 2)])
    yield lambda: shared.put({key(of, 1): encoded(of, 1)})
    yield lambda: shared.delete([key(of, 1)])
    yield lambda: list(shared.clear())
    yield shared.ping


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n",
        b"\x00\xff\xfe" * 100 + b"\r\n",
        b"\r\n",
        b":many\r\n",
        b"$-7\r\n",
        b"$x\r\n",
        b"*x\r\n",
        b"*1\r\n" * 5000,
        b"*2\r\n:1\r\n:2\r\n" * 10,
        b"+OK\r\n" * 10,
        b"$1000\r\nhalf",
        b"*2\r\n$10\r\nheader",
        b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n" * 10,
        b"-ERR unknown command\r\n" * 10,
        b"-LOADING Redis is loading the dataset in memory\r\n" * 10,
        b"",
    ],
)
def test_calls__server_that_answers_rubbish__raise_connector_errors(
    scheme: str, answer: bytes
) -> None:
    of = layout()
    with answering(answer) as server:
        shared = connector(f"{scheme}://127.0.0.1:{server.port}", of, timeout_s=1.0)
        for call in calls(shared, of):
            with pytest.raises(ConnectorError):
                call()
        shared.close()


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+cluster"])
def test_calls__server_that_says_nothing__time_out_once(scheme: str) -> None:
    of = layout()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shared = connector(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", of, timeout_s=0.3)
        for call in calls(shared, of):
            started = time.monotonic()
            with pytest.raises(ConnectorTimeout):
                call()
            assert time.monotonic() - started < 1.5
        shared.close()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_calls__nobody_listens__raise_connector_errors(scheme: str) -> None:
    of = layout()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    shared = connector(f"{scheme}://127.0.0.1:{port}", of)
    for call in calls(shared, of):
        with pytest.raises(ConnectorError):
            call()
    shared.close()


@pytest.mark.parametrize("mode", ["server", "cluster"])
def test_calls__server_killed_and_back__work_again(tmp_path: Path, mode: str) -> None:
    of = layout()
    running = running_cluster if mode == "cluster" else running_redis
    with running(tmp_path) as server:
        scheme = "redis+cluster" if mode == "cluster" else "redis"
        shared = connector(f"{scheme}://{server.address}", of, timeout_s=2.0)
        shared.put({key(of, 1): encoded(of, 1)})
        server.kill()
        for _ in range(2):
            with pytest.raises(ConnectorError):
                shared.contains([key(of, 1)])
        server.restart()
        # The cluster's configuration is on disk; it takes a moment to be well.
        eventually(lambda: answers(shared))
        assert shared.contains([key(of, 1)]) == 0
        shared.put({key(of, 1): encoded(of, 1)})
        assert shared.contains([key(of, 1)]) == 1
        shared.close()


def test_timeout__changed_while_running__applies_to_the_next_call(tmp_path: Path) -> None:
    of = layout()
    timeout = [20.0]
    with running_redis(tmp_path) as server:
        shared = open_connector(
            f"redis://{server.address}", ConnectorContext(of, lambda: timeout[0])
        )
        shared.ping()
        server.stall()
        timeout[0] = 0.2
        started = time.monotonic()
        with pytest.raises(ConnectorTimeout):
            shared.ping()
        assert time.monotonic() - started < 5
        server.resume()
        shared.close()
