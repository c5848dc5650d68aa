"""Lookups that load ahead, and what is held for a request between its lookup and its
retrieve."""

from pathlib import Path

from engine.cache import CacheEngine
from engine.contract import TokenRange
from engine.lookup import PENDING, Prompt
from engine.lookup.managing import LookupClients
from engine.storage import Count
from tests.engine.lookup.conftest import CHUNK, Deploy, Deployment, head
from tests.support.waiting import eventually

WAIT = 30.0


def answered(clients: LookupClients, num_tokens: int, request_id: str) -> object:
    answers: list[object] = []

    def has_answered() -> bool:
        answers.append(clients.lookup(range(num_tokens), request_id))
        return answers[-1] is not PENDING

    eventually(has_answered)
    return answers[-1]


def on_disk_only(deployment: Deployment, num_tokens: int) -> None:
    """Store the tokens, and drop them from memory."""
    for engine in deployment.engines:
        for end in range(CHUNK, num_tokens + 1, CHUNK):
            # A small memory lends only a few chunks at once to be written.
            engine.store_mock(TokenRange(0, end))
            assert engine.storage.flush(WAIT)
        engine.clear(["LocalCPUBackend"])


def disk(tmp_path: Path) -> dict[str, object]:
    return {"local_disk": str(tmp_path / "disk"), "max_local_disk_size": 0.01}


def in_memory(engine: CacheEngine) -> int:
    return engine.usage()["LocalCPUBackend"].chunks


def test_async_lookup__chunks_on_disk__are_in_memory_when_it_answers(
    deploy: Deploy, tmp_path: Path
) -> None:
    deployment = deploy(1, enable_async_loading=True, **disk(tmp_path))
    deployment.serve()
    on_disk_only(deployment, 64)
    assert deployment.clients.lookup(range(80), "a") is PENDING
    assert answered(deployment.clients, 80, "a") == 64
    [engine] = deployment.engines
    assert in_memory(engine) == 8
    before = engine.storage.tallies()["LocalDiskBackend"].counts[Count.LOADED_CHUNKS]
    assert before == 8
    assert engine.retrieve(range(64), head(64), "a").num_retrieved == 64
    assert engine.storage.tallies()["LocalDiskBackend"].counts[Count.LOADED_CHUNKS] == before


def test_async_lookup__memory_is_smaller_than_the_prompt__finds_all_of_it(
    deploy: Deploy, tmp_path: Path
) -> None:
    deployment = deploy(1, chunks=8, enable_async_loading=True, **disk(tmp_path))
    deployment.serve()
    on_disk_only(deployment, 160)
    assert answered(deployment.clients, 160, "a") == 160
    [engine] = deployment.engines
    assert 0 < in_memory(engine) <= 8
    assert engine.retrieve(range(160), head(160), "a").num_retrieved == 160


def test_async_lookup__a_chunk_is_broken__the_prefix_ends_before_it(
    deploy: Deploy, tmp_path: Path
) -> None:
    deployment = deploy(1, enable_async_loading=True, **disk(tmp_path))
    deployment.serve()
    deployment.store(0, 24)
    [engine] = deployment.engines
    assert engine.storage.flush(WAIT)
    known = {path for path in (tmp_path / "disk").rglob("*") if path.is_file()}
    deployment.store(0, 64)
    assert engine.storage.flush(WAIT)
    for path in {path for path in (tmp_path / "disk").rglob("*") if path.is_file()} - known:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    engine.clear(["LocalCPUBackend"])
    assert answered(deployment.clients, 64, "a") == 24


def test_async_lookup__frozen__loads_nothing_and_finds_what_is_in_memory(
    deploy: Deploy, tmp_path: Path
) -> None:
    deployment = deploy(1, enable_async_loading=True, **disk(tmp_path))
    deployment.serve()
    on_disk_only(deployment, 64)
    [engine] = deployment.engines
    engine.retrieve(range(16), head(16), "warm")
    engine.freeze()
    assert answered(deployment.clients, 64, "a") == 16
    assert in_memory(engine) == 2


def test_async_lookup__hot_cache_off__finds_what_is_on_disk(deploy: Deploy, tmp_path: Path) -> None:
    deployment = deploy(1, enable_async_loading=True, **disk(tmp_path))
    deployment.serve()
    on_disk_only(deployment, 64)
    deployment.engines[0].disable_hot_cache()
    assert answered(deployment.clients, 64, "a") == 64
    assert in_memory(deployment.engines[0]) == 0


def test_async_lookup__server_that_does_not_load__answers_all_the_same(
    deploy: Deploy, tmp_path: Path
) -> None:
    deployment = deploy(1, **disk(tmp_path))
    deployment.serve()
    deployment.set(enable_async_loading=True)
    deployment.clients.create()
    on_disk_only(deployment, 64)
    assert answered(deployment.clients, 64, "a") == 64
    assert in_memory(deployment.engines[0]) == 0


def test_async_lookup__worker_is_not_there__is_nothing_soon(deploy: Deploy) -> None:
    deployment = deploy(1, enable_async_loading=True)
    deployment.clients.create()
    assert answered(deployment.clients, 64, "a") == 0
    assert deployment.clients.counters()["lookup_unreachable"] == 1


def test_async_lookup__forgotten__nothing_is_held(deploy: Deploy, tmp_path: Path) -> None:
    deployment = deploy(1, enable_async_loading=True, **disk(tmp_path))
    deployment.serve()
    on_disk_only(deployment, 64)
    [engine] = deployment.engines
    assert answered(deployment.clients, 64, "a") == 64
    assert engine.storage.holds.usage().chunks == 8
    deployment.clients.forget("a")
    eventually(lambda: engine.storage.holds.usage().chunks == 0)


def test_lookup__promised_chunks__are_not_evicted_before_the_retrieve(deploy: Deploy) -> None:
    deployment = deploy(1, chunks=16)
    deployment.serve()
    [engine] = deployment.engines
    deployment.store(0, 64)
    assert deployment.clients.lookup(range(64), "a") == 64
    for start in range(1000, 3000, 64):
        deployment.store(start, start + 64)
    assert engine.lookup(range(64)) == 64
    assert engine.retrieve(range(64), head(64), "a").num_retrieved == 64
    assert engine.storage.holds.usage().chunks == 0
    for start in range(1000, 3000, 64):
        deployment.store(start, start + 64)
    assert engine.lookup(range(64)) == 0


def test_lookup__never_retrieved__is_let_go_after_the_timeout(deploy: Deploy) -> None:
    deployment = deploy(1, pin_timeout_sec=3600.0)
    deployment.serve()
    [engine] = deployment.engines
    deployment.store(0, 64)
    deployment.set(pin_check_interval_sec=0.05)
    assert deployment.clients.lookup(range(64), "a") == 64
    assert engine.storage.holds.usage().requests == 1
    deployment.set(pin_timeout_sec=0.1)
    eventually(lambda: engine.storage.holds.usage().requests == 0)
    assert engine.storage.holds.usage().expired == 1


def test_lookup__repeated_by_one_request__is_held_once(deploy: Deploy) -> None:
    deployment = deploy(1)
    deployment.serve()
    [engine] = deployment.engines
    deployment.store(0, 64)
    for _ in range(3):
        deployment.clients.lookup(range(64), "a")
    assert engine.storage.holds.usage()[:2] == (1, 8)


def test_lookup__many_waiting_requests__leave_room_for_others(deploy: Deploy) -> None:
    deployment = deploy(1, chunks=16)
    deployment.serve()
    [engine] = deployment.engines
    for number in range(4):
        start = 1000 * number
        deployment.store(start, start + 32)
        deployment.clients.lookup(range(start, start + 32), f"request {number}")
    usage = engine.storage.holds.usage()
    assert usage.chunks <= 8
    assert usage.refused > 0
    assert engine.store_mock(TokenRange(9000, 9064)).num_stored == 64


def test_lookup__held_chunks_are_cleared__their_memory_comes_back(deploy: Deploy) -> None:
    deployment = deploy(1)
    deployment.serve()
    [engine] = deployment.engines
    deployment.store(0, 64)
    deployment.clients.lookup(range(64), "a")
    assert engine.clear() == {"LocalCPUBackend": 8}
    assert engine.lookup(range(64)) == 0
    assert engine.usage()["LocalCPUBackend"].used_bytes > 0
    deployment.clients.forget("a")
    eventually(lambda: engine.usage()["LocalCPUBackend"].used_bytes == 0)


def test_find__lookup__holds_nothing_after_it(deploy: Deploy, tmp_path: Path) -> None:
    deployment = deploy(1, enable_async_loading=True, **disk(tmp_path))
    deployment.serve()
    on_disk_only(deployment, 64)
    assert deployment.clients.find_mock(range(64), "a") == 64
    eventually(lambda: deployment.engines[0].storage.holds.usage().chunks == 0)


def test_count__promise__does_not_reorder_a_frozen_cache(deploy: Deploy) -> None:
    deployment = deploy(1)
    [engine] = deployment.engines
    deployment.store(0, 64)
    deployment.store(1000, 1064)
    engine.freeze()
    before = engine.storage.local_cpu.keys()
    hashes = [key.chunk_hash for key in before]
    engine.count(Prompt("a", CHUNK * len(hashes), CHUNK, hashes[::-1]))
    engine.forget("a")
    assert engine.storage.local_cpu.keys() == before
