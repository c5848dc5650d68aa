"""Making lookup clients and servers anew, also while lookups go on."""

import itertools
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.lookup import PENDING, LookupUnavailable, Pending, Prompt
from engine.lookup.factory import plan_client
from engine.lookup.hit_limit import HitLimitLookupClient
from engine.lookup.index import LocalWorkers
from engine.lookup.managing import LookupClients, StatisticsUnavailable
from engine.metadata import scheduler_metadata
from tests.engine.lookup.conftest import CHUNK, SHAPE, Deploy, Deployment
from tests.support.waiting import eventually

PLAIN, ASYNC, BYPASS = (
    "LMCacheLookupClient",
    "LMCacheAsyncLookupClient",
    "LMCacheBypassLookupClient",
)
_KINDS: tuple[dict[str, object], ...] = (
    {"enable_async_loading": False, "enable_scheduler_bypass_lookup": False},
    {"enable_async_loading": True, "enable_scheduler_bypass_lookup": False},
    {"enable_async_loading": False, "enable_scheduler_bypass_lookup": True},
)


class Answered:
    """A client with one answer."""

    def __init__(self, answer: int | Pending) -> None:
        self.answer = answer

    def lookup(self, prompt: Prompt) -> int | Pending:
        return self.answer

    def forget(self, request_id: str) -> None: ...

    def describe(self) -> str:
        return "Answered"

    def close(self) -> None: ...


@given(
    num_tokens=st.integers(0, 10_000),
    chunk_size=st.integers(1, 300),
    ratio=st.floats(0, 1),
    share=st.floats(0, 1),
)
def test_hit_limit__any_answer__is_cut_to_whole_chunks_within_the_ratio(
    num_tokens: int, chunk_size: int, ratio: float, share: float
) -> None:
    hit = int(num_tokens * share)
    prompt = Prompt("a", num_tokens, chunk_size, [])
    answer = HitLimitLookupClient(Answered(hit), ratio).lookup(prompt)
    assert isinstance(answer, int)
    assert answer <= hit
    if hit <= num_tokens * ratio:
        assert answer == hit
    else:
        assert answer % chunk_size == 0
        assert answer <= num_tokens * ratio < answer + chunk_size + 1


def test_hit_limit__pending__stays_pending() -> None:
    client = HitLimitLookupClient(Answered(PENDING), 0.5)
    assert client.lookup(Prompt("a", 8, 8, [])) is PENDING


def test_create__every_configuration__is_named_as_it_was_previewed(deploy: Deploy) -> None:
    deployment = deploy(1, are_local=True)
    names = set()
    for kind, ratio, counts in itertools.product(_KINDS, (None, 0.5), (False, True)):
        deployment.set(**kind, hit_miss_ratio=ratio, enable_chunk_statistics=counts)
        preview = deployment.clients.preview()
        assert deployment.clients.create() == preview
        assert deployment.clients.client_name == preview.new
        names.add(preview.new)
    assert names == {
        chain.format(core)
        for core in (PLAIN, ASYNC, BYPASS)
        for chain in (
            "{}",
            "HitLimitLookupClient({})",
            "ChunkStatisticsLookupClient({})",
            "ChunkStatisticsLookupClient(HitLimitLookupClient({}))",
        )
    }


def test_create__hit_limit__cuts_what_is_found(deploy: Deploy) -> None:
    deployment = deploy(hit_miss_ratio=0.6)
    deployment.serve()
    deployment.store(0, 80)
    assert deployment.clients.lookup(range(80), "a") == 48


def test_preview__nothing_there__opens_nothing(deploy: Deploy, own_runtime_directory: Path) -> None:
    deployment = deploy(1, are_local=True, enable_chunk_statistics=True)
    threads = set(threading.enumerate())
    for kind in _KINDS:
        deployment.set(**kind)
        deployment.clients.preview()
        deployment.servers[0].preview()
    assert set(threading.enumerate()) == threads
    assert not own_runtime_directory.exists()
    assert deployment.clients.client_name == deployment.servers[0].server_name == "None"


def test_preview__something_there__leaves_it_as_it_is(deploy: Deploy) -> None:
    deployment = deploy(1)
    deployment.serve()
    deployment.store(0, 40)
    deployment.set(enable_async_loading=True)
    assert deployment.clients.preview() == (PLAIN, ASYNC)
    assert deployment.servers[0].preview() == ("LMCacheLookupServer", "LMCacheAsyncLookupServer")
    assert deployment.clients.client_name == PLAIN
    assert deployment.servers[0].server_name == "LMCacheLookupServer"
    assert deployment.clients.lookup(range(64), "a") == 40


def test_close__client__nothing_is_found_until_the_next_create(deploy: Deploy) -> None:
    deployment = deploy(1)
    deployment.serve()
    deployment.store(0, 40)
    assert deployment.clients.close() == PLAIN
    assert deployment.clients.close() == "None"
    assert deployment.clients.client_name == "None"
    assert deployment.clients.lookup(range(64), "a") == 0
    assert deployment.clients.create() == ("None", PLAIN)
    assert deployment.clients.lookup(range(64), "a") == 40


def test_close__server__is_gone_and_comes_back(deploy: Deploy) -> None:
    deployment = deploy(1)
    deployment.serve()
    deployment.store(0, 40)
    [servers] = deployment.servers
    assert (servers.close(), servers.close()) == ("LMCacheLookupServer", "None")
    assert servers.create() == ("None", "LMCacheLookupServer")
    assert deployment.clients.lookup(range(64), "a") == 40


def test_create__over_an_existing_one__closes_the_old(deploy: Deploy) -> None:
    deployment = deploy(1)
    deployment.serve()
    threads = threading.active_count()
    for _ in range(5):
        assert deployment.clients.create() == (PLAIN, PLAIN)
        assert deployment.servers[0].create() == ("LMCacheLookupServer", "LMCacheLookupServer")
    deployment.clients.lookup(range(64), "a")
    eventually(lambda: threading.active_count() <= threads + 1)


def test_create__bypass_without_anything_to_ask__is_refused_and_the_old_one_stays(
    deploy: Deploy,
) -> None:
    deployment = deploy(1)
    deployment.serve()
    deployment.store(0, 40)
    deployment.set(enable_scheduler_bypass_lookup=True)
    for change in (deployment.clients.create, deployment.clients.preview):
        with pytest.raises(LookupUnavailable, match="remote_url"):
            change()
    assert deployment.clients.client_name == PLAIN
    assert deployment.clients.lookup(range(64), "a") == 40


def test_bypass__engines_in_the_process__are_asked_without_a_server(deploy: Deploy) -> None:
    deployment = deploy(are_local=True, enable_scheduler_bypass_lookup=True)
    deployment.clients.create()
    deployment.store(0, 40, 0)
    deployment.store(0, 16, 1)
    assert deployment.clients.lookup(range(64), "a") == 16
    assert deployment.engines[0].storage.holds.usage().chunks == 5
    deployment.clients.forget("a")
    assert deployment.engines[0].storage.holds.usage().chunks == 0


def test_bypass__workers_elsewhere__the_shared_store_is_asked(
    deploy: Deploy, tmp_path: Path
) -> None:
    deployment = deploy(enable_scheduler_bypass_lookup=True, remote_url=f"fs://{tmp_path}/shared")
    deployment.clients.create()
    deployment.store(0, 40, 0)
    deployment.store(0, 16, 1)
    assert all(engine.storage.flush(30) for engine in deployment.engines)
    assert deployment.clients.lookup(range(64), "a") == 16


def test_bypass__store_that_cannot_be_opened__is_refused(deploy: Deploy) -> None:
    deployment = deploy(1)
    config = EngineConfig.load(
        flags={"enable_scheduler_bypass_lookup": True, "remote_url": "nothing://here"}
    )
    plan_client(config, LocalWorkers())
    deployment.clients._config = config
    with pytest.raises(LookupUnavailable, match="remote_url"):
        deployment.clients.create()


def test_statistics__client_that_does_not_count__there_are_none(deploy: Deploy) -> None:
    deployment = deploy(1)
    with pytest.raises(StatisticsUnavailable):
        _ = deployment.clients.statistics
    deployment.clients.create()
    with pytest.raises(StatisticsUnavailable):
        _ = deployment.clients.statistics


def counted(deployment: Deployment) -> tuple[object, object]:
    deployment.clients.statistics.flush(30)
    status = deployment.clients.statistics.status()
    return status["total_chunks"], status["unique_chunks"]


def test_statistics__client_is_made_anew__they_go_on(deploy: Deploy) -> None:
    deployment = deploy(
        1,
        are_local=True,
        enable_chunk_statistics=True,
        chunk_statistics_auto_start_statistics=True,
    )
    deployment.serve()
    for number, kind in enumerate(_KINDS):
        deployment.set(**kind)
        deployment.clients.create()
        deployment.clients.find_mock(range(8 * CHUNK), f"request {number}")
    assert counted(deployment) == (24, 8)
    deployment.set(enable_chunk_statistics=False)
    deployment.clients.create()
    deployment.clients.find_mock(range(8 * CHUNK), "uncounted")
    deployment.set(enable_chunk_statistics=True)
    deployment.clients.create()
    assert counted(deployment) == (24, 8)


def test_statistics__counted_in_another_way__begin_anew_and_go_on_counting(
    deploy: Deploy,
) -> None:
    deployment = deploy(1, enable_chunk_statistics=True)
    deployment.serve()
    deployment.clients.statistics.start()
    deployment.clients.lookup(range(8 * CHUNK), "a")
    assert counted(deployment) == (8, 8)
    deployment.set(chunk_statistics_strategy="file_hash")
    deployment.clients.create()
    assert counted(deployment) == (0, 0)
    deployment.clients.lookup(range(8 * CHUNK), "b")
    assert counted(deployment) == (8, 8)
    assert deployment.clients.statistics.status()["strategy"] == "file_hash"


def test_statistics__not_started__count_nothing(deploy: Deploy) -> None:
    deployment = deploy(1, enable_chunk_statistics=True)
    deployment.serve()
    deployment.clients.lookup(range(8 * CHUNK), "a")
    assert counted(deployment) == (0, 0)


@pytest.mark.slow
def test_recreate__eight_threads_look_up_meanwhile__every_lookup_is_answered_rightly(
    deploy: Deploy, tmp_path: Path
) -> None:
    """200 recreates that alternate plain, async and bypass, the servers' among them."""
    timeout_ms = 10_000
    deployment = deploy(
        are_local=True,
        chunks=64,
        local_disk=f"{tmp_path}/disk",
        max_local_disk_size=0.01,
        lookup_timeout_ms=timeout_ms,
        enable_chunk_statistics=True,
        chunk_statistics_auto_start_statistics=True,
    )
    deployment.serve()
    stored = [(1000 * number, 8 * (number + 1)) for number in range(8)]
    for start, length in stored:
        deployment.store(start, start + length)
    done = threading.Event()
    wrong: list[str] = []
    slowest = [0.0] * 8
    answered = [0] * 8

    def look_up(thread: int) -> None:
        for number in itertools.count():
            if done.is_set():
                return
            start, length = stored[(thread + number) % len(stored)]
            request_id = f"{thread}-{number}"
            began = time.monotonic()
            while (
                answer := deployment.clients.lookup(range(start, start + 80), request_id)
            ) is PENDING:
                # A scheduler asks again in its next step.
                time.sleep(0.0005)
            slowest[thread] = max(slowest[thread], time.monotonic() - began)
            answered[thread] += 1
            if answer != length:
                wrong.append(f"{request_id}: {answer} instead of {length}")
            deployment.clients.forget(request_id)

    threads = [threading.Thread(target=look_up, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for number in range(200):
        kind = _KINDS[number % 3]
        if number % 10 == 5:
            servers = deployment.servers[number // 10 % 2]
            deployment.configs[1 + number // 10 % 2].update(kind)
            servers.create()
        assert deployment.configs[0].update(kind).errors == {}
        deployment.clients.create()
        # Lookups get a turn between two of them.
        time.sleep(0.005)
    done.set()
    for thread in threads:
        thread.join(timeout_ms / 1000 + 30)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert min(answered) > 20
    assert max(slowest) < timeout_ms / 1000
    faults = deployment.clients.counters()
    assert faults["lookup_timeouts"] == faults["lookup_unreachable"] == 0


class SlowWorkers(LocalWorkers):
    """Whether a client can be made is not known before `known` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = threading.Event()
        self.known = threading.Event()

    def lacks(self, worker_ids: Iterable[int]) -> list[int]:
        self.is_asked.set()
        assert self.known.wait(30)
        return super().lacks(worker_ids)


def test_statistics__while_a_client_is_made__are_there_at_once() -> None:
    config = EngineConfig.load(flags={**SHAPE, "enable_chunk_statistics": True})
    local = SlowWorkers()
    clients = LookupClients(config, scheduler_metadata(config, "engine"), local)
    clients.create()
    config.update({"enable_scheduler_bypass_lookup": True})
    with ThreadPoolExecutor(2) as threads:
        making = threads.submit(clients.create)
        assert local.is_asked.wait(30)
        try:
            status = threads.submit(lambda: clients.statistics.status()).result(timeout=5)
            assert status["total_chunks"] == 0
        finally:
            local.known.set()
        with pytest.raises(LookupUnavailable):
            making.result()
    clients.shut_down()


def test_create__no_memory_for_statistics__leaves_nothing_open(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy(1)
    deployment.serve()
    deployment.set(enable_chunk_statistics=True)
    threads = set(threading.enumerate())

    def no_memory(*given: object, **named: object) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr("engine.lookup.kept_statistics.make_counter", no_memory)
    with pytest.raises(LookupUnavailable):
        deployment.clients.create()
    assert deployment.clients.client_name == PLAIN
    assert set(threading.enumerate()) == threads
