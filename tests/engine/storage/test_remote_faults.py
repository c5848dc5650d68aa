"""A remote medium that fails, hangs, or is full: requests see nothing of it."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from engine.storage.breaker import BreakerState
from engine.storage.connectors import ConnectorError, ConnectorRefusal, EncodedChunk
from engine.storage.remote import RemoteBackend
from engine.storage.tally import Count, Drop, Fault
from engine.tokens import ChunkKey
from tests.support.redis_server import running_cluster, running_redis
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

from .mediums import counted, dropped, faults


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


def test_medium_comes_back_empty__chunks_it_had__are_written_anew() -> None:
    of = layout()
    double = DoubleConnector()
    with backend(double, of, threshold=1, interval_s=0.01) as remote:
        store(remote, of, [1])
        double.failures.update(contains=ConnectorError("away"), ping=ConnectorError("away"))
        assert remote.contains([key(of, 1)]) == [False]
        double.values.clear()
        double.failures.clear()
        eventually(lambda: remote.state().breaker is BreakerState.CLOSED)
        store(remote, of, [1])
        assert list(double.values) == [key(of, 1)]


def test_load__finds_less_than_there_was__all_that_is_missing_is_written_anew() -> None:
    of = layout()
    double = DoubleConnector()
    with backend(double, of) as remote:
        store(remote, of, [1, 2, 3])
        double.values.clear()
        assert load(remote, of, [1, 2, 3]) == []
        store(remote, of, [1, 2, 3])
        assert len(double.values) == 3


def test_freeze__broken_chunk_is_being_read__stays_until_unfrozen() -> None:
    of = layout()
    double = DoubleConnector()
    with backend(double, of) as remote:
        double.values[key(of, 1)] = EncodedChunk(b"", b"")
        double.may_pass["get"].clear()
        reading = threading.Thread(target=load, args=(remote, of, [1]))
        reading.start()
        eventually(lambda: "get" in double.calls)
        remote.freeze()
        double.may_pass["get"].set()
        reading.join()
        assert faults(remote) == {Fault.CORRUPT: 1}
        assert key(of, 1) in double.values
        remote.unfreeze()
        assert load(remote, of, [1]) == []
        assert double.values == {}


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


def test_start__medium_is_away__does_not_wait_for_it() -> None:
    of = layout()
    started = time.monotonic()
    with backend("redis://127.0.0.1:1", of) as remote:
        assert remote.contains([key(of, 1)]) == [False]
        assert time.monotonic() - started < 5.0
