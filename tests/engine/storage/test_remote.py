import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import redis
import torch

from engine.storage.breaker import BreakerState
from engine.storage.chunk import BackendUsage
from engine.storage.connectors import (
    ConnectorError,
    ConnectorRefusal,
    EncodedChunk,
    namespace_digest,
)
from engine.storage.format import ChunkLayout, make_header
from engine.storage.payload import payload_of
from engine.storage.remote import RemoteBackend
from engine.storage.tally import Count, Drop, Fault
from engine.tokens import ChunkKey
from tests.support.processes import ROOT, clean_environment
from tests.support.redis_server import RedisServer, running_cluster, running_redis
from tests.support.remote import (
    TOKENS,
    WAIT_SECONDS,
    Leases,
    answering,
    backend,
    buffers,
    chunk,
    key,
    layout,
    load,
    same_bytes,
    store,
    trickling,
)
from tests.support.waiting import eventually


class Medium:
    """A real medium, and a door to what is stored in it that is not the connector's."""

    def __init__(self, url: str) -> None:
        self.url = url

    def read(self, of: ChunkLayout, number: int) -> bytes:
        """Header and payload of a stored chunk, or nothing."""
        raise NotImplementedError

    def write(self, of: ChunkLayout, number: int, value: bytes) -> None:
        raise NotImplementedError


class Directory(Medium):
    def __init__(self, root: Path) -> None:
        super().__init__(f"fs://{root}")
        self._root = root

    def read(self, of: ChunkLayout, number: int) -> bytes:
        path = self._path(of, number)
        return path.read_bytes() if path.exists() else b""

    def write(self, of: ChunkLayout, number: int, value: bytes) -> None:
        path = self._path(of, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)

    def _path(self, of: ChunkLayout, number: int) -> Path:
        name = key(of, number).chunk_hash.hex()
        return self._root / namespace_digest(of.namespace) / name[:2] / f"{name}.kvchunk"


class Server(Medium):
    def __init__(self, scheme: str, server: RedisServer) -> None:
        super().__init__(f"{scheme}://{server.address}")
        self._server = server

    def read(self, of: ChunkLayout, number: int) -> bytes:
        with self._server.client() as client:
            header, payload = client.hmget(self._name(of, number), "header", "payload")
        return (header or b"") + (payload or b"")

    def write(self, of: ChunkLayout, number: int, value: bytes) -> None:
        fields = {"header": value[:4096], "payload": value[4096:]}
        with self._server.client() as client:
            client.hset(self._name(of, number), mapping=fields)

    def _name(self, of: ChunkLayout, number: int) -> str:
        return f"kvplane:{namespace_digest(of.namespace)}:{key(of, number).chunk_hash.hex()}"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    directory = tmp_path_factory.mktemp("redis")
    with running_redis(directory) as single, running_cluster(directory) as cluster:
        yield {"redis": single, "redis+cluster": cluster}


@pytest.fixture(params=["fs", "redis", "redis+cluster"])
def medium(
    request: pytest.FixtureRequest, tmp_path: Path, servers: dict[str, RedisServer]
) -> Medium:
    if request.param == "fs":
        return Directory(tmp_path / "shared")
    return Server(request.param, servers[request.param])


class DoubleConnector:
    """A connector in memory whose calls can be held, made to fail, and are counted."""

    def __init__(self) -> None:
        self.max_value_bytes = sys.maxsize
        self.values: dict[ChunkKey, EncodedChunk] = {}
        self.calls: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.may_pass = {name: threading.Event() for name in ("contains", "get", "put", "ping")}
        for event in self.may_pass.values():
            event.set()

    def contains(self, keys: Sequence[ChunkKey]) -> int:
        self._called("contains")
        return next((i for i, each in enumerate(keys) if each not in self.values), len(keys))

    def get(self, keys: Sequence[ChunkKey]) -> list[EncodedChunk]:
        self._called("get")
        return [self.values[each] for each in keys if each in self.values]

    def put(self, chunks: Mapping[ChunkKey, EncodedChunk]) -> None:
        self._called("put")
        for each, value in chunks.items():
            self.values[each] = EncodedChunk(bytes(value.header), bytes(value.payload))

    def delete(self, keys: Sequence[ChunkKey]) -> None:
        self._called("delete")
        for each in keys:
            self.values.pop(each, None)

    def clear(self) -> Iterator[int]:
        self._called("clear")
        while self.values:
            self.values.popitem()
            yield 1

    def ping(self) -> None:
        self._called("ping")

    def close(self) -> None:
        self._called("close")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.may_pass:
            assert self.may_pass[name].wait(WAIT_SECONDS)
        if name in self.failures:
            raise self.failures[name]


def counted(remote: RemoteBackend, what: Count) -> float:
    return remote.tally.snapshot().counts[what]


def dropped(remote: RemoteBackend) -> dict[Drop, int]:
    return {drop: times for drop, times in remote.tally.snapshot().drops.items() if times}


def faults(remote: RemoteBackend) -> dict[Fault, int]:
    return {fault: times for fault, times in remote.tally.snapshot().faults.items() if times}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.uint8], ids=str)
@pytest.mark.parametrize("serde", ["naive", "zstd"])
def test_load__what_was_stored__is_equal_byte_for_byte(
    medium: Medium, serde: str, dtype: torch.dtype
) -> None:
    of = layout(dtype)
    with backend(medium.url, of, serde=serde) as remote:
        store(remote, of, [1, 2, 3])
        found = load(remote, of, [1, 2, 3])
        assert all(same_bytes(each, chunk(of, n)) for each, n in zip(found, [1, 2, 3], strict=True))
        assert counted(remote, Count.STORED_CHUNKS) == counted(remote, Count.LOADED_CHUNKS) == 3
        size = sum(len(medium.read(of, number)) for number in (1, 2, 3))
        assert counted(remote, Count.STORED_BYTES) == counted(remote, Count.LOADED_BYTES) == size
        assert counted(remote, Count.STORE_SECONDS) > 0 < counted(remote, Count.LOAD_SECONDS)
        assert faults(remote) == dropped(remote) == {}
        assert remote.usage() == BackendUsage(0, 0, 3)


def test_load__gap__ends_there(medium: Medium) -> None:
    of = layout()
    with backend(medium.url, of) as remote:
        store(remote, of, [1, 2, 4])
        keys = [key(of, number) for number in (1, 2, 3, 4)]
        assert remote.contains(keys) == [True, True, False, False]
        assert len(load(remote, of, [1, 2, 3, 4])) == 2
        assert load(remote, of, [3, 4]) == []
        assert remote.load([]) == 0
        assert remote.contains([]) == []
        assert faults(remote) == {}


def test_store__another_engine_did__is_not_sent_again(medium: Medium) -> None:
    of = layout()
    with backend(medium.url, of) as first, backend(medium.url, of, serde="zstd") as second:
        store(first, of, [1, 3])
        before = medium.read(of, 1)
        store(second, of, [1, 2, 3, 4])
        assert medium.read(of, 1) == before
        assert counted(second, Count.STORED_CHUNKS) == 2
        assert dropped(second) == {}
        for remote in (first, second):
            found = load(remote, of, [1, 2, 3, 4])
            assert [same_bytes(found[i], chunk(of, i + 1)) for i in range(4)] == [True] * 4


WRITER = """
import sys, torch
from tests.support.remote import Leases, backend, key, layout, store
from engine.storage.format import ChunkLayout
url, namespace, serde = sys.argv[1:]
of = ChunkLayout(namespace, layout().spec)
with backend(url, of, serde=serde) as remote:
    for _ in range(20):
        store(remote, of, range(8))
        remote.clear()
    store(remote, of, range(8))
"""


@pytest.mark.slow
def test_load__processes_write_and_clear_the_same_keys__never_sees_another_byte(
    medium: Medium,
) -> None:
    of = layout()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, medium.url, of.namespace, serde],
            cwd=ROOT,
            env=clean_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"),
        )
        for serde in ("naive", "zstd")
    ]
    loaded = 0
    with backend(medium.url, of, timeout_s=20.0) as remote:
        while any(writer.poll() is None for writer in writers):
            for index, found in enumerate(load(remote, of, range(8))):
                assert same_bytes(found, chunk(of, index))
                loaded += 1
        assert [writer.returncode for writer in writers] == [0, 0]
        assert loaded > 0
        assert faults(remote) == {}


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


def test_clear__other_namespaces__stay(medium: Medium) -> None:
    mine, other = layout(), layout()
    with backend(medium.url, mine) as remote, backend(medium.url, other) as others:
        store(remote, mine, range(20))
        store(others, other, [1])
        assert remote.clear() == 20
        assert remote.clear() == 0
        assert remote.usage() == BackendUsage(0, 0, 0)
        assert load(remote, mine, [1]) == []
        assert len(load(others, other, [1])) == 1
        store(remote, mine, [1])
        assert len(load(remote, mine, [1])) == 1


def test_freeze__offers__are_dropped_and_loads_go_on(medium: Medium) -> None:
    of = layout()
    with backend(medium.url, of) as remote:
        store(remote, of, [1])
        remote.freeze()
        leases = Leases(of)
        assert not remote.offer(leases.make(2))
        assert leases.all_released_once()
        assert dropped(remote) == {Drop.FROZEN: 1}
        assert len(load(remote, of, [1])) == 1
        remote.unfreeze()
        store(remote, of, [2])
        assert len(load(remote, of, [1, 2])) == 2


def test_directory_vanished__requests__see_nothing_and_nothing_is_made_anew(
    tmp_path: Path,
) -> None:
    of = layout()
    root = tmp_path / "mount"
    with backend(f"fs://{root}", of) as remote:
        store(remote, of, [1])
        shutil.rmtree(root)
        assert remote.contains([key(of, 1)]) == [False]
        assert load(remote, of, [1]) == []
        assert faults(remote) == {Fault.READ: 2}
        leases = Leases(of)
        assert remote.offer(leases.make(2))
        assert remote.flush(WAIT_SECONDS)
        eventually(leases.all_released_once)
        assert dropped(remote) == {Drop.FAILED: 1}
        assert faults(remote) == {Fault.READ: 2, Fault.WRITE: 1}
        assert not root.exists()


def test_server_killed_and_back__breaker__opens_and_closes_by_probing(tmp_path: Path) -> None:
    of = layout()
    with (
        running_redis(tmp_path) as server,
        backend(
            f"redis://{server.address}", of, threshold=2, interval_s=0.05, timeout_s=2.0
        ) as remote,
    ):
        store(remote, of, [1])
        server.kill()
        for _ in range(2):
            assert remote.contains([key(of, 1)]) == [False]
        assert remote.state().breaker is BreakerState.OPEN
        leases = Leases(of)
        assert not remote.offer(leases.make(2))
        assert leases.all_released_once()
        assert load(remote, of, [1]) == []
        assert remote.clear() == 0
        assert faults(remote) == {Fault.READ: 2}
        assert dropped(remote) == {Drop.DEGRADED: 1}
        server.restart()
        eventually(lambda: remote.state().breaker is BreakerState.CLOSED)
        assert load(remote, of, [1]) == []
        store(remote, of, [1])
        assert same_bytes(load(remote, of, [1])[0], chunk(of, 1))


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_server_stalls__requests__return_in_time_and_recover(tmp_path: Path, scheme: str) -> None:
    of = layout()
    running = running_redis if scheme == "redis" else running_cluster
    with (
        running(tmp_path) as server,
        backend(
            f"{scheme}://{server.address}", of, timeout_s=0.3, threshold=4, interval_s=0.05
        ) as remote,
    ):
        store(remote, of, [1])
        server.stall()
        requests: list[Callable[[], object]] = [
            lambda: remote.contains([key(of, 1)]),
            lambda: load(remote, of, [1]),
        ] * 2
        for request in requests:
            started = time.monotonic()
            assert request() in ([False], [])
            assert time.monotonic() - started < 2.0
        assert faults(remote) == {Fault.TIMEOUT: 4}
        assert remote.state().breaker is BreakerState.OPEN
        started = time.monotonic()
        assert load(remote, of, [1]) == []
        assert time.monotonic() - started < 0.3
        server.resume()
        eventually(lambda: remote.state().breaker is BreakerState.CLOSED)
        assert same_bytes(load(remote, of, [1])[0], chunk(of, 1))


def test_server_that_trickles__requests__return_in_time() -> None:
    of = layout()
    with (
        trickling(b"*2\r\n$" + b"1" * 600, pause_s=0.05) as server,
        backend(f"redis://127.0.0.1:{server.port}", of, timeout_s=0.3) as remote,
    ):
        for request in (lambda: load(remote, of, [1]), lambda: remote.contains([key(of, 1)])):
            started = time.monotonic()
            assert request() in ([False], [])
            assert time.monotonic() - started < 1.5
        assert faults(remote)[Fault.TIMEOUT] == 2


@pytest.mark.parametrize("answer", [b"*2\r\n$10\r\nhead", b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_breaker_open__nothing__is_sent(answer: bytes) -> None:
    of = layout()
    with (
        answering(answer) as server,
        backend(f"redis://127.0.0.1:{server.port}", of, threshold=3, timeout_s=1.0) as remote,
    ):
        eventually(lambda: faults(remote) != {})
        for _ in range(2):
            assert remote.contains([key(of, 1)]) == [False]
        assert remote.state().breaker is BreakerState.OPEN
        before = server.requests
        leases = Leases(of)
        for number in range(10):
            assert remote.contains([key(of, number)]) == [False]
            assert load(remote, of, [number]) == []
            assert not remote.offer(leases.make(number))
        assert remote.clear() == 0
        assert server.requests == before == 3
        assert leases.all_released_once()


def test_breaker_opens__what_is_queued__is_dropped_unsent() -> None:
    of = layout()
    double = DoubleConnector()
    with backend(double, of, threshold=1) as remote:
        leases = Leases(of)
        double.may_pass["put"].clear()
        for number in range(10):
            assert remote.offer(leases.make(number))
        eventually(lambda: "put" in double.calls)
        double.failures["contains"] = ConnectorError("broken")
        assert remote.contains([key(of, 1)]) == [False]
        double.may_pass["put"].set()
        assert remote.flush(WAIT_SECONDS)
        eventually(leases.all_released_once)
        written = double.calls.count("put")
        assert written == 1
        assert dropped(remote)[Drop.DEGRADED] == 10 - len(double.values)


def test_probe__only__is_sent_while_open() -> None:
    of = layout()
    double = DoubleConnector()
    broken = ConnectorError("broken")
    with backend(double, of, threshold=1, interval_s=0.01) as remote:
        eventually(lambda: double.calls == ["ping"])
        double.failures.update(contains=broken, ping=broken)
        assert remote.contains([key(of, 1)]) == [False]
        eventually(lambda: double.calls.count("ping") >= 4)
        assert remote.contains([key(of, 1)]) == [False]
        assert set(double.calls[2:]) == {"ping"}
        double.failures.clear()
        eventually(lambda: remote.state().breaker is BreakerState.CLOSED)
        assert remote.contains([key(of, 1)]) == [False]
        assert double.calls[-1] == "contains"


def test_load__given_up__never_writes_into_the_memory_again() -> None:
    of = layout()
    double = DoubleConnector()
    with backend(double, of, timeout_s=0.1) as remote:
        store(remote, of, [1])
        double.may_pass["get"].clear()
        made, tensors = buffers(of, [1])
        assert remote.load(made) == 0
        tensors[0].fill_(5)
        double.may_pass["get"].set()
        # All threads have passed the held call when as many later ones are answered.
        for _ in range(20):
            assert remote.contains([key(of, 1)]) == [True]
        assert bool((tensors[0] == 5).all())


def test_connector_raises_anything__requests__see_nothing() -> None:
    of = layout()
    double = DoubleConnector()
    with backend(double, of) as remote:
        for error in (KeyError("x"), TypeError("y"), OSError("z"), ZeroDivisionError()):
            double.failures.update(contains=error, get=error)
            assert remote.contains([key(of, 1)]) == [False]
            assert load(remote, of, [1]) == []
        assert faults(remote) == {Fault.READ: 8}


def test_timeouts__more_than_there_are_threads__do_not_pile_up() -> None:
    of = layout()
    double = DoubleConnector()
    with backend(double, of, timeout_s=0.02) as remote:
        double.may_pass["contains"].clear()
        for _ in range(50):
            assert remote.contains([key(of, 1)]) == [False]
        assert double.calls.count("contains") < 20
        double.may_pass["contains"].set()
        eventually(lambda: remote.contains([]) == [])
        eventually(lambda: (remote.contains([key(of, 1)]), faults(remote))[1] != {})
        double.values[key(of, 1)] = EncodedChunk(b"", b"")
        eventually(lambda: remote.contains([key(of, 1)]) == [True])


def test_medium_is_full__writes__fail_and_reads_go_on() -> None:
    of = layout()
    double = DoubleConnector()
    with backend(double, of, threshold=1) as remote:
        store(remote, of, [1])
        double.failures["put"] = ConnectorRefusal("no space")
        leases = Leases(of)
        for number in (2, 3):
            assert remote.offer(leases.make(number))
        assert remote.flush(WAIT_SECONDS)
        eventually(leases.all_released_once)
        assert dropped(remote) == {Drop.FAILED: 2}
        assert faults(remote)[Fault.WRITE] in (1, 2)
        assert remote.state().breaker is BreakerState.CLOSED
        assert len(load(remote, of, [1])) == 1


def test_value_too_large__is_dropped_alone() -> None:
    of = layout()
    double = DoubleConnector()
    double.max_value_bytes = of.chunk_bytes(TOKENS) - 1
    with backend(double, of) as remote:
        store(remote, of, [1])
        assert dropped(remote) == {Drop.TOO_LARGE: 1}
        assert faults(remote) == {}
        assert "put" not in double.calls


def test_unknown_serde__is_a_failed_write_and_the_writer_lives_on() -> None:
    of = layout()
    double = DoubleConnector()
    names = ["no such serde", "naive"]
    remote = RemoteBackend(
        double,
        of,
        serde_name=lambda: names[0],
        timeout_s=lambda: 5.0,
        queue_chunks=8,
        breaker_threshold=lambda: 1000,
        breaker_interval_s=lambda: 3600.0,
    )
    store(remote, of, [1])
    assert dropped(remote) == {Drop.FAILED: 1}
    del names[0]
    store(remote, of, [1])
    assert list(double.values) == [key(of, 1)]
    remote.close()


def test_offer__every_path__releases_the_lease_once() -> None:
    of = layout()
    double = DoubleConnector()
    leases = Leases(of)
    with backend(double, of, queue_chunks=3) as remote:
        double.may_pass["put"].clear()
        assert remote.offer(leases.make(1))
        eventually(lambda: "put" in double.calls)
        assert remote.offer(leases.make(2))
        assert remote.offer(leases.make(2))
        assert remote.offer(leases.make(3))
        assert not remote.offer(leases.make(4))
        assert remote.state().queued == 3
        assert leases.releases == [0, 0, 1, 0, 1]
        double.may_pass["put"].set()
        assert remote.flush(WAIT_SECONDS)
        eventually(leases.all_released_once)
        assert remote.offer(leases.make(1))
        assert remote.flush(WAIT_SECONDS)
        assert dropped(remote) == {Drop.QUEUE_FULL: 1}
        assert counted(remote, Count.STORED_CHUNKS) == 3
    assert not remote.offer(leases.make(5))
    assert leases.all_released_once()
    assert double.calls[-1] == "close"


def test_write_in_flight__freeze_and_clear__wait_no_longer_than_the_timeout() -> None:
    of = layout()
    double = DoubleConnector()
    leases = Leases(of)
    with backend(double, of, timeout_s=0.2) as remote:
        double.may_pass["put"].clear()
        for number in range(8):
            assert remote.offer(leases.make(number))
        eventually(lambda: "put" in double.calls)
        started = time.monotonic()
        remote.freeze()
        assert remote.clear() == 0
        assert time.monotonic() - started < 2.0
        assert leases.releases.count(0) == 8 - dropped(remote).get(Drop.FROZEN, 0)
        double.may_pass["put"].set()
        assert remote.flush(WAIT_SECONDS)
        eventually(leases.all_released_once)
        assert double.values == {}, "what was cleared came back"


def test_clear__fails_half_way__counts_what_was_removed(tmp_path: Path) -> None:
    of = layout()

    class BreaksHalfWay(DoubleConnector):
        def clear(self) -> Iterator[int]:
            yield 3
            yield 4
            raise ConnectorError("gone")

    with backend(BreaksHalfWay(), of) as remote:
        assert remote.clear() == 7
        assert faults(remote) == {Fault.WRITE: 1}


@pytest.mark.slow
def test_close__connector_that_hangs__returns_and_the_lease_is_kept() -> None:
    of = layout()
    double = DoubleConnector()
    leases = Leases(of)
    with backend(double, of) as remote:
        double.may_pass["put"].clear()
        assert remote.offer(leases.make(1))
        eventually(lambda: "put" in double.calls)
        started = time.monotonic()
        remote.close()
        assert time.monotonic() - started < 10.0
        assert leases.releases == [0]
        double.may_pass["put"].set()
        eventually(leases.all_released_once)


def test_close__queued_chunks__are_written(medium: Medium) -> None:
    of = layout()
    leases = Leases(of)
    with backend(medium.url, of) as remote:
        for number in range(20):
            assert remote.offer(leases.make(number))
    assert leases.all_released_once()
    with backend(medium.url, of) as later:
        assert len(load(later, of, range(20))) == 20


def test_start__medium_is_away__does_not_wait_for_it() -> None:
    of = layout()
    started = time.monotonic()
    with backend("redis://127.0.0.1:1", of) as remote:
        assert remote.contains([key(of, 1)]) == [False]
        assert time.monotonic() - started < 5.0


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
